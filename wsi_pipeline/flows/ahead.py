"""What workers import, and what a run imports late, imported while it opens and surveys the slide."""

from __future__ import annotations

import importlib
from contextlib import suppress
from threading import Thread

from wsi_pipeline.config import Settings
from wsi_pipeline.engine.fork_server import start_fork_server

WORK = ("wsi_pipeline.flows.region", "wsi_pipeline.flows.tile_region", "wsi_pipeline.models.processor_engine")
"""Modules that workers use, imported before there are any."""

TABLES, CLUSTER = "pyarrow.parquet", "wsi_pipeline.engine.dask_executor"
"""What is imported here only when tables are written, and when workers start or a scheduler is joined."""


def work_ahead(settings: Settings, scheduler: str | None) -> None:
    """Begin what local workers will be copied from, if there will be any, and to import what is needed late.

    Returns at once. What is not installed is missed when it is needed.
    """
    serial = scheduler is None and settings.engine.executor == "serial"
    if scheduler is None and not serial:
        start_fork_server(WORK)

    def import_late() -> None:
        for module in (TABLES,) if serial else (CLUSTER, TABLES):
            with suppress(ImportError, RuntimeError):  # the second when the run ends meanwhile
                importlib.import_module(module)

    Thread(target=import_late, name="imports").start()
