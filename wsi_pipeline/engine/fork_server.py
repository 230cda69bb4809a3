"""Where worker processes come from: copies of a process that has imported everything, where the system can copy one.

What a worker imports takes it about a second, again after every crash. On Linux one process does it for all of them,
beside this one, which has a slide to look at meanwhile. It ends when this process and all workers have ended.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver

from wsi_pipeline.engine.interrupts import interrupts_held

WORKER_VARIABLES = {
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20), "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
}  # fmt: skip
"""Variables that a worker needs from its first moment, when libraries read them.

One thread for linear algebra, as dask sets it. The first two let glibc keep what an array gives back for the next one.
With dask's own 64 kB for the first, and the fixed 128 kB for the second that come with it, every array of a region is
fresh memory, and a third of a region's time goes into the system's clearing of it. Twice these values are no quicker
and hold 0.04 GB more per worker; half of them are 3 % slower, a quarter 7 %.
"""


def start_method() -> str:
    """Return how worker processes are started here, in the words of multiprocessing."""
    return "forkserver" if sys.platform == "linux" else "spawn"


def start_fork_server(modules: Sequence[str] = ()) -> None:
    """Have a process import dask's worker and `modules`, to be copied into workers; nothing where one already does.

    Returns at once. Where workers are started afresh there is nothing to do.
    """
    if start_method() != "forkserver":
        return
    multiprocessing.set_forkserver_preload(["distributed.nanny", *modules, "wsi_pipeline.engine.fork_server_end"])
    with interrupts_held(), _environment(WORKER_VARIABLES):  # copies inherit that they know nothing of Ctrl-C
        forkserver.ensure_running()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have `variables` in the environment of what is started in the body, unless somebody has set them already."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
