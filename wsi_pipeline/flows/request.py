"""What a user asks of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wsi_pipeline.config import Settings
from wsi_pipeline.errors import printable
from wsi_pipeline.storage import Address, RemotePath

Progress = Callable[[str, int, int], None]
"""Called with the stage's name, what is done and what there is to do."""


Say = Callable[[str], None]
"""Called with a line on what the run decided."""


def silent(*_report: object) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class ScoreRequest:
    """One slide to score, and where to. `mpp` and `assume_mpp` in um/px; `pieces` empty means all.

    Of a slide, a drawn region and a run folder at URLs, `origin`, `roi_origin` and `destination` say where; `slide`,
    `roi` and `out` are then the copies on the local disk.
    """

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
    origin: RemotePath | None = None
    roi_origin: RemotePath | None = None
    destination: Address | None = None

    @property
    def slide_shown(self) -> str:
        """What records call the slide: its URL, or its path."""
        return printable(str(self.slide if self.origin is None else self.origin))

    @property
    def slide_linked(self) -> Path:
        """Where a QuPath project looks for the slide: at `/bucket/key` for one at a URL."""
        return self.slide.resolve() if self.origin is None else Path("/", *self.origin.address.parts)

    def linked(self, final: Path) -> Path:
        """Return where a QuPath project believes to be when its run ends in the local folder `final`.

        Beside it, QuPath finds the slide and the maps by relative paths, wherever both are moved to.
        """
        if self.destination is None:
            return final
        return Path("/", *self.destination.parent.parts, final.name)
