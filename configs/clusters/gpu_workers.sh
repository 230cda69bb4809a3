#!/usr/bin/env bash
# Start one dask worker for each GPU of this machine and join a scheduler; Ctrl-C stops them.
#
# Usage: gpu_workers.sh tcp://SCHEDULER:8786 [THREADS]
#   THREADS  threads beside each GPU, 4 if unset; as many regions are read, computed and written at a time
# Needs `pip install "dask-cuda[cu12]"` beside wsi-her2. It pins one version of dask: install that one everywhere.
set -euo pipefail

scheduler=${1:?"usage: gpu_workers.sh tcp://SCHEDULER:8786 [THREADS]"}
threads=${2:-4}

# arrays' memory is kept for the next array, which dask's own value forbids
export MALLOC_TRIM_THRESHOLD_=33554432 MALLOC_MMAP_THRESHOLD_=16777216

# torch manages the GPU's memory itself, so that dask's own limits and spilling stay off
OMP_NUM_THREADS=1 exec dask cuda worker "$scheduler" --nthreads "$threads" --resources "GPU=$threads" \
    --device-memory-limit 0 --no-dashboard
