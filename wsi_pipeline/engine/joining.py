"""Joining a dask scheduler: whether it answers, and a client of it."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed import Client, Security
from distributed.comm.core import connect

from wsi_pipeline.engine.interrupts import interrupts_held
from wsi_pipeline.errors import ClusterError

CONNECT_SECONDS = 10
"""How long a scheduler may take to answer."""


def client_of(cluster: Any) -> Client:
    """Return a client of a cluster, or of the scheduler at an address; whole, or closed again after Ctrl-C.

    One that is interrupted half made cannot be closed, and tries to for 20 s when the process ends.

    Raises OSError, TimeoutError.
    """
    client = None
    try:
        with interrupts_held():
            client = Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
    except KeyboardInterrupt:  # it waited until the client was there
        if client:
            client.close(timeout=5)
        raise
    return client


def require_answer(scheduler: str) -> None:
    """Raise ClusterError unless a dask scheduler answers; the client itself waits for ever for one that is mute."""

    async def ask() -> None:
        comm = await connect(scheduler, **Security().get_connection_args("client"))
        await comm.close()

    async def ask_in_time() -> None:
        await asyncio.wait_for(ask(), CONNECT_SECONDS)

    try:
        asyncio.run(ask_in_time())
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"--scheduler {scheduler}", "no dask scheduler answers there", "start one, or leave the option out"
        ) from error
