"""Files that show a result: written where that is possible, since none of them is worth losing what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from wsi_pipeline.errors import ResourceError, WsiHer2Error

P = ParamSpec("P")
R = TypeVar("R")


class Views:
    """Writes files that may fail. `lost`: a warning for each that did."""

    def __init__(self) -> None:
        """Have lost nothing yet."""
        self.lost: list[str] = []

    def attempt(self, name: str, write: Callable[P, R], *words: P.args, **named: P.kwargs) -> R | None:
        """Return what `write` returns, None where it fails at the file `name`. Raises ResourceError: a full disk."""
        try:
            return write(*words, **named)
        except ResourceError:
            raise
        except WsiHer2Error as error:
            reason = error.problem
        except Exception as error:  # noqa: BLE001 - whatever a library raises, the measured result is kept
            reason = f"unexpected {type(error).__name__}: {error}"
        self.lost.append(f"{name} is missing, because it could not be written: {' '.join(reason.split())}")
        return None
