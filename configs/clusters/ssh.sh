#!/usr/bin/env bash
# Start a dask scheduler on this machine and workers on others by ssh; Ctrl-C stops them all.
#
# Usage: VENV=/shared/wsi-her2 ssh.sh SCHEDULER HOST...
#   SCHEDULER  name or address of this machine as the hosts see it
#   HOST       where workers run, one thread per processor each; name this machine too if it is to work
#   VENV       the environment that wsi-her2 is installed in, at the same path everywhere
#   PORT       of the scheduler, 8786 if unset
# Then, from any of them: wsi-her2 batch /shared/archive -o /shared/results --scheduler tcp://SCHEDULER:8786
set -euo pipefail

scheduler=${1:?"usage: VENV=/shared/wsi-her2 ssh.sh SCHEDULER HOST..."}
shift
venv=${VENV:?"set VENV to the environment that wsi-her2 is installed in"}
# arrays' memory is kept for the next array, which dask's own value forbids
environment="OMP_NUM_THREADS=1 MALLOC_TRIM_THRESHOLD_=33554432 MALLOC_MMAP_THRESHOLD_=16777216"
address=tcp://$scheduler:${PORT:-8786}

trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT

# wsi-her2 itself tries a region again, so that a dead worker is no reason to hand the region to the next at once
DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 \
    "$venv/bin/dask" scheduler --host "$scheduler" --port "${PORT:-8786}" --no-dashboard &

for host in "$@"; do
    # -tt: the workers end when this script does
    ssh -tt "$host" "$environment '$venv/bin/dask' worker $address --nworkers \$(nproc) --nthreads 1 \
        --no-dashboard --death-timeout 60" </dev/null &
done
wait
