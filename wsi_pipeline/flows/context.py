"""What a run has found by the time it writes its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.flows.gather import Gathered
from wsi_pipeline.flows.record import Verdicts
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.provenance import Stopwatch
from wsi_pipeline.slide import SlideInfo
from wsi_pipeline.tiling import Grid


@dataclass(frozen=True)
class RunContext:
    """What was found, by step of the run."""

    request: ScoreRequest
    info: SlideInfo
    grid: Grid
    survey: Survey
    assay: AssayProfile
    gathered: Gathered
    verdicts: Verdicts
    spread: dict[str, Any]
    watch: Stopwatch
