"""Who works on what in a folder that several programs share: a claim of a dead process is taken over.

A claim is a file whose name says who holds it. Whoever wants a thing first puts down a claim of its own and looks then:
if somebody else's living claim lies there too, both may have come at the same moment, and whoever sees it goes back.
So two can never hold one thing, without any locks of the file system.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import uuid
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import NamedTuple

from wsi_pipeline.export.atomic import is_running, plain_disk_errors

HEARTBEAT_S = 10.0
"""Seconds between two signs of life; they matter to other machines only."""

SILENT_S = 120.0
"""Seconds without a sign of life after which a process of another machine is taken for dead."""

ENDED = ("Z", "X")
"""States of a process that is dead and only not yet forgotten."""

SUFFIX = ".claim"


class Holder(NamedTuple):
    """The process behind a claim, as the claim's file name says it."""

    machine: str
    """Host name, boot and process namespace: where process numbers mean the same."""
    pid: int
    started: int
    """Start of the process, clock ticks since the boot, which tells it from another one that got its number later."""

    @property
    def words(self) -> str:
        """Who that is, for people."""
        return f"process {self.pid} on {self.machine.rsplit('+', 2)[0]}"


class Claims:
    """The claims of this process in one folder; a thread keeps them fresh until `close`.

    Threads may share it, as long as no two ask for the same name.
    """

    def __init__(self, folder: Path) -> None:
        """Hold nothing yet; the folder is made when it is needed."""
        self._folder = folder
        self._own: dict[str, Path] = {}
        self._me = _myself()
        self._end = threading.Event()
        self._pulse: threading.Thread | None = None
        self._starting = threading.Lock()

    def take(self, name: str) -> bool:
        """Claim `name` (letters, digits, -) and tell whether it is ours now. Raises OutputError, ResourceError."""
        with plain_disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            own = self._folder / _file_name(name, self._me)
            own.touch(exist_ok=False)
        if self._others(name, own):
            own.unlink(missing_ok=True)
            return False
        self._own[name] = own
        with self._starting:
            if self._pulse is None:
                self._pulse = threading.Thread(target=self._beat, name="claims", daemon=True)
                self._pulse.start()
        return True

    def holder(self, name: str) -> Holder | None:
        """Return who holds `name`, where it is somebody else."""
        found = [_holder(path) for path in self._folder.glob(f"{escape(name)}~*{SUFFIX}")]
        return next((other for other in found if other and other != self._me), None)

    def holds(self, name: str) -> bool:
        """Tell whether the claim on `name` is still ours: a process that slept for long may have lost it."""
        return name in self._own and self._own[name].exists()

    def release(self, name: str) -> None:
        """Let others have `name`."""
        own = self._own.pop(name, None)
        if own:
            own.unlink(missing_ok=True)

    def close(self) -> None:
        """Release everything."""
        self._end.set()
        for name in list(self._own):
            self.release(name)

    def _others(self, name: str, own: Path) -> bool:
        """Tell whether somebody living claims `name` too; claims of the dead are removed."""
        found = False
        for path in self._folder.glob(f"{escape(name)}~*{SUFFIX}"):
            if path == own:
                continue
            if self._is_dead(path, own):
                path.unlink(missing_ok=True)
            else:
                found = True
        return found

    def _is_dead(self, path: Path, own: Path) -> bool:
        """Tell whether nobody stands behind a claim any more."""
        holder = _holder(path)
        if holder is not None and holder.machine == self._me.machine:
            return not _is_alive(holder)
        try:  # both times come from the clock of the disk, whatever the machines' clocks say
            return own.stat().st_mtime - path.stat().st_mtime > SILENT_S
        except FileNotFoundError:
            return True

    def _beat(self) -> None:
        """Give a sign of life now and then."""
        while not self._end.wait(HEARTBEAT_S):
            for path in list(self._own.values()):
                with suppress(OSError):  # taken over, or a disk that hangs: `holds` tells
                    os.utime(path)


def _file_name(name: str, holder: Holder) -> str:
    """Return the name of a claim's file; its last part keeps two claims of one process apart."""
    return f"{name}~{holder.machine}~{holder.pid}~{holder.started}~{uuid.uuid4().hex[:8]}{SUFFIX}"


def _holder(path: Path) -> Holder | None:
    """Return who made a claim, or None for a file that is none."""
    parts = path.name.split("~")
    try:
        return Holder(parts[1], int(parts[2]), int(parts[3]))
    except (IndexError, ValueError):
        return None


def _myself() -> Holder:
    """Return this process."""
    return Holder("+".join((*this_boot(), _namespace())), os.getpid(), _status(os.getpid())[1])


def this_boot() -> tuple[str, str]:
    """Return the host's name, and what tells this boot of it from others."""
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        boot = "unknown"
    return host, boot


def _is_alive(holder: Holder) -> bool:
    """Tell whether a process of this machine still runs, and is not another one that got its number."""
    state, started = _status(holder.pid)
    return is_running(holder.pid) and state not in ENDED and started in {holder.started, 0}


def _status(pid: int) -> tuple[str, int]:
    """Return a process's state and when it started, clock ticks since the boot; "" and 0 where nothing tells."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", 0
    fields = status.rpartition(")")[2].split()  # from the third on; the second, a name in brackets, may hold anything
    return fields[0], int(fields[19])


def _namespace() -> str:
    """Return the namespace in which process numbers hold: containers of one host have their own."""
    try:
        return re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return ""
