"""stdout and stderr that never end a command: closed, a broken pipe, full, or of an encoding that lacks a letter."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from wsi_pipeline.errors import printable

ESCAPED = "wsi-her2-escaped"
"""Name of the way in which letters that an encoding lacks are written, for Python's codecs."""


class _Patient(io.FileIO):
    """A descriptor to write to, which swallows what it refuses and remembers why."""

    refused: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write bytes, or drop them; return how many are gone."""
        if self.refused is None:
            try:
                return super().write(content) or 0
            except OSError as error:
                self.refused = error
        return len(content)


@contextmanager
def patient_streams() -> Iterator[None]:
    """Have stdout and stderr take everything, while inside; raises OSError at the end where stdout lost something.

    A reader that went away, as `head` does, has what it wanted: that is no loss.
    """
    _fill_closed()
    codecs.register_error(ESCAPED, _escape)
    before = sys.stdout, sys.stderr
    out, err = (_opened(stream, descriptor) for descriptor, stream in enumerate(before, start=1))
    sys.stdout, sys.stderr = out or before[0], err or before[1]
    try:
        yield
    finally:
        for stream in (out, err):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
    lost = out.buffer.raw.refused if out is not None else None  # type: ignore[attr-defined]
    if lost is not None and not isinstance(lost, BrokenPipeError):
        raise lost


def _fill_closed() -> None:
    """Open the null device where a standard descriptor is closed, so that no file of a run takes its number."""
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)


def _opened(stream: TextIO | None, descriptor: int) -> io.TextIOWrapper | None:
    """Return a patient stream in place of Python's own; None where something else, such as a test, took its place."""
    if stream is not None:
        try:
            if stream.fileno() != descriptor:
                return None
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            stream.flush()
    raw = _Patient(descriptor, "wb", closefd=False)
    line_buffering = descriptor == 2 or raw.isatty()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, ESCAPED, line_buffering=line_buffering)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return what is written for letters that an encoding lacks: the bytes of a name that is no text, else a code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = printable(error.object[error.start : error.end])
    return letters.encode("ascii", "backslashreplace").decode("ascii"), error.end
