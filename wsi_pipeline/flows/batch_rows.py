"""What a batch knows of each slide when it is through with it: one row, whatever happened."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.errors import (
    CorruptSlideError,
    MissingMppError,
    UnsupportedSlideError,
    WsiHer2Error,
    printable,
)
from wsi_pipeline.export.atomic import LAST_PUBLISHED
from wsi_pipeline.flows.batch_inputs import OTHER_SLIDES, Place
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.results import VIRTUAL_NOTICE, Result

Status = Literal["scored", "not evaluable", "needs mpp", "corrupt", "unsupported", "failed", "waiting"]

GOOD: tuple[Status, ...] = ("scored", "not evaluable")
"""How a slide ends that needs nobody's attention and is not looked at again."""

STATUS_OF: tuple[tuple[type[WsiHer2Error], Status], ...] = (
    (MissingMppError, "needs mpp"),
    (CorruptSlideError, "corrupt"),
    (UnsupportedSlideError, "unsupported"),
    (WsiHer2Error, "failed"),
)
"""Class of an error -> how the slide ended; the first that fits."""


class SlideRow(BaseModel):
    """One line of the summary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slide: str = Field(description="path relative to what all inputs share")
    status: Status
    score: str = ""
    category: str = ""
    borderline: bool | None = None
    result: str = Field("", description="path of result.json relative to the results' folder")
    seconds: float | None = Field(None, description="time that the last attempt took, without waiting for workers, s")
    message: str = ""
    case: str = ""
    stain: str = ""
    virtual_stain: bool | None = None
    evidence: str = ""
    confidence: str = ""
    score_set: str = Field("", description="scores that the evidence does not tell apart")
    h_score: float | None = Field(None, description="0-300")
    tumour_cells: int | None = None
    tissue_mm2: float | None = Field(None, description="tissue that was scored, mm2")
    slide_mm2: float | None = Field(None, description="the whole slide, mm2")
    assay: str = ""
    tumour: str = ""
    specimen: str = ""
    rule: str = ""
    warnings: int | None = Field(None, description="how many result.json has")
    sha256: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the slide was scored, or found to be not evaluable."""
        return self.status in GOOD


def scored_row(slide: BatchSlide, result: Result, folder: str, seconds: float) -> SlideRow:
    """Return the row of a run; `folder`: its run folder relative to the results' folder."""
    notice = f"{VIRTUAL_NOTICE.split('.')[0]}. " if result.virtual_stain else ""
    record = result.slide
    return SlideRow(
        slide=slide.name,
        status="not evaluable" if result.score == "not evaluable" else "scored",
        score=result.score,
        category=result.category,
        borderline=result.borderline,
        result=f"{folder}/{LAST_PUBLISHED}",
        seconds=round(seconds, 2),
        message=f"{notice}{result.reason}",
        case=slide.source.case,
        stain=result.stain,
        virtual_stain=result.virtual_stain,
        evidence=result.evidence,
        confidence=result.confidence,
        score_set=" ".join(result.score_set),
        h_score=result.h_score,
        tumour_cells=result.cells.tumour,
        tissue_mm2=result.tissue_mm2,
        slide_mm2=round(record.width * record.mpp_x * record.height * record.mpp_y / 1e6, 4),
        assay=result.assay,
        tumour=result.tumour,
        specimen=result.specimen or "",
        rule=result.rule,
        warnings=len(result.warnings),
        sha256=record.sha256,
    )


def failed_row(slide: BatchSlide, error: BaseException, seconds: float) -> SlideRow:
    """Return the row of a slide that ended in an error; its message does not repeat the slide's path."""
    status: Status = "failed"
    source = slide.source.path
    if isinstance(error, MemoryError):
        message = "memory is exhausted (use fewer workers: --set engine.workers=1)"
    elif isinstance(error, WsiHer2Error):
        status = next(status for kind, status in STATUS_OF if isinstance(error, kind))
        message = _without_path(error, source)
        if status == "corrupt" and source.suffix.lower() in OTHER_SLIDES:
            status, message = "unsupported", "is of a format that cannot be read (convert it to a tiled pyramidal TIFF)"
    else:
        said = str(error)
        if not isinstance(source, Path):  # it may name the copy, which is gone by now
            said = re.sub(rf"/?[^\s'\"]*/{slide.id}/slide\b", str(source.parent), said)
        message = f"unexpected {type(error).__name__}: {said}"
    message = _public(printable(" ".join(message.split())), slide)
    return SlideRow(
        slide=slide.name, status=status, seconds=round(seconds, 2), message=message,
        case=slide.source.case,
    )  # fmt: skip


def waiting_row(slide: BatchSlide) -> SlideRow:
    """Return the row of a slide whose turn has not come."""
    return SlideRow(slide=slide.name, status="waiting", case=slide.source.case)


def _public(message: str, slide: BatchSlide) -> str:
    """Return a message that names the files of a slide without the folders of this machine."""
    for place in (slide.source.roi, slide.source.path):
        if isinstance(place, Path) and place.is_absolute():
            message = message.replace(printable(place), printable(place.name))
    return message


def _without_path(error: WsiHer2Error, path: Place) -> str:
    """Return the sentence of an error, without its subject where that is the slide."""
    if error.subject != printable(str(path)):
        return str(error)
    return f"{error.problem} ({error.remedy})" if error.remedy else error.problem
