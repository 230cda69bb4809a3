"""What a run has found by the time it writes its files."""

from __future__ import annotations

from dataclasses import dataclass

from wsi_pipeline.flows.gather import Gathered
from wsi_pipeline.flows.passes import Passed
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.record import Verdicts
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.flows.tile_maps import TileScales
from wsi_pipeline.provenance import Stopwatch
from wsi_pipeline.results import NOTICE, VIRTUAL_NOTICE
from wsi_pipeline.slide import SlideInfo


@dataclass(frozen=True)
class RunContext:
    """What was found, by step of the run."""

    request: ScoreRequest
    info: SlideInfo
    sha256: str
    """What identifies the slide's bytes, 64 hex digits."""
    survey: Survey
    plan: RunPlan
    passed: Passed
    gathered: Gathered
    verdicts: Verdicts
    scales: TileScales | None
    watch: Stopwatch

    @property
    def has_score(self) -> bool:
        """Whether the slide has a score, rather than being not evaluable."""
        return self.verdicts.slide.score != "not evaluable"

    @property
    def notice(self) -> str:
        """What every file of this run says of itself."""
        return VIRTUAL_NOTICE if self.plan.virtual else NOTICE
