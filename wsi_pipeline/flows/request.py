"""What a user asks of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsi_pipeline.config import Settings

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, what is done and what there is to do."""


Say = Callable[[str], None]
"""Called with a line on what the run decided."""


def silent(*_report: object) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class ScoreRequest:
    """One slide to score, and where to. `mpp` and `assume_mpp` in um/px; `pieces` empty means all."""

    slide: Path
    out: Path
    settings: Settings
    mpp: float | None = None
    assume_mpp: float | None = None
    reader: Literal["auto", "fast", "openslide", "tiffslide", "image", "zarr"] = "auto"
    stain: Literal["auto", "ihc", "he"] = "auto"
    roi: Path | None = None
    pieces: tuple[int, ...] = ()
    scheduler: str | None = None
    weights_folder: Path | None = None
    progress: Progress = field(default=silent, compare=False)
    say: Say = field(default=silent, compare=False)
