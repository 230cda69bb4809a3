"""The border to the libraries that read files: whatever is raised behind it becomes an error of ours, in one place."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsi_pipeline.errors import CorruptSlideError, ResourceError, WsiHer2Error

BROKEN_REMEDY = "copy the file again from the scanner or archive"

ROOM_BYTES = 2**28
"""Memory that reading a sound slide may want at once, bytes; where that much is free, the file asked for too much."""

SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What the system says when it has run out of something itself."""

LONGEST_WORDS = 200
"""Characters of a library's words that are repeated; some quote whole headers."""


@contextmanager
def library_errors(path: Path, problem: str) -> Iterator[None]:
    """Let errors of ours pass, and turn everything else that the body raises into one that names the file.

    Raises:
        CorruptSlideError: whatever a library raised; `problem` says what could not be done.
        ResourceError: this machine's memory or its open files are used up.
    """
    try:
        yield
    except WsiHer2Error:
        raise
    except MemoryError as error:
        if _is_room():
            asked = f"{problem}: it asks for more memory than its pixels can need"
            raise CorruptSlideError(path, asked, BROKEN_REMEDY) from error
        raise ResourceError("memory", f"is exhausted by {path}", "use fewer workers: --set engine.workers=1") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in SCARCE:
            raise ResourceError(path, f"{problem}: {error.strerror}", "close other programs") from error
        raise CorruptSlideError(path, f"{problem}: {words_of(error)}", BROKEN_REMEDY) from error


def words_of(error: BaseException) -> str:
    """Return what an error says, in one line that is not endless; its name where it says nothing."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= LONGEST_WORDS else f"{said[:LONGEST_WORDS]} ..."


def _is_room() -> bool:
    """Return whether this process can still have the memory that a sound slide wants."""
    try:
        bytearray(ROOM_BYTES)
    except MemoryError:
        return False
    return True
