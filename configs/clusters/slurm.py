"""Start dask workers as Slurm jobs, and run a wsi-her2 command on them.

Usage: python slurm.py [OPTIONS] -- wsi-her2 batch /shared/archive -o /shared/results

Needs `pip install dask-jobqueue` beside wsi-her2, in an environment that all nodes see. The scheduler lives in this
process, so start it on a login node or in a job of its own; the workers end with it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

import dask
from dask_jobqueue import SLURMCluster

THREADS_PER_GPU = 4
"""As engine.device_threads: one computes while others read and write."""


def arguments() -> argparse.Namespace:
    """Return the options and the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=4, help="Slurm jobs")
    parser.add_argument("--cpus", type=int, default=8, help="processors of a job; one worker each without --gpu")
    parser.add_argument("--memory", default="32GB", help="memory of a job")
    parser.add_argument("--walltime", default="12:00:00")
    parser.add_argument("--partition")
    parser.add_argument("--account")
    parser.add_argument("--interface", help="network of the nodes, such as ib0; the scheduler listens on it too")
    parser.add_argument("--gpu", action="store_true", help="one GPU a job, and one worker beside it")
    parser.add_argument("--log-directory", help="where Slurm writes what the workers say")
    parser.add_argument("--show", action="store_true", help="print the job script and end")
    parser.add_argument("command", nargs="*", help="wsi-her2 run or batch with its options, after --")
    chosen = parser.parse_args()
    if not chosen.show and not chosen.command:
        parser.error("name a command after --, such as: -- wsi-her2 batch /shared/archive -o /shared/results")
    return chosen


def worker_options(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what a job holds: a worker of one thread per processor, or one of several threads beside a GPU."""
    if not chosen.gpu:
        return {"cores": chosen.cpus, "processes": chosen.cpus}
    return {
        "cores": THREADS_PER_GPU,
        "processes": 1,
        "job_cpu": max(chosen.cpus, THREADS_PER_GPU),
        "job_extra_directives": ["--gres=gpu:1"],
        "worker_extra_args": [f"--resources GPU={THREADS_PER_GPU}"],
    }


def main() -> int:
    """Start the jobs, wait for the first worker, run the command and return its exit code."""
    chosen = arguments()
    dask.config.set({"distributed.scheduler.allowed-failures": 0})  # wsi-her2 itself tries again
    with SLURMCluster(
        **worker_options(chosen),
        memory=chosen.memory,
        walltime=chosen.walltime,
        queue=chosen.partition,
        account=chosen.account,
        interface=chosen.interface,
        log_directory=chosen.log_directory,
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
        # MALLOC_: arrays' memory is kept for the next array, which dask's own value forbids
        job_script_prologue=[
            "export OMP_NUM_THREADS=1",
            "export MALLOC_TRIM_THRESHOLD_=33554432 MALLOC_MMAP_THRESHOLD_=16777216",
        ],
        python=sys.executable,
    ) as cluster:
        if chosen.show:
            print(cluster.job_script())
            return 0
        cluster.scale(jobs=chosen.jobs)
        print(f"scheduler at {cluster.scheduler_address}; waiting for the first worker", file=sys.stderr)
        cluster.wait_for_workers(1)
        command = [*chosen.command, "--scheduler", cluster.scheduler_address]
        return subprocess.run(command, check=False).returncode  # noqa: S603 - the user's own words


if __name__ == "__main__":
    sys.exit(main())
