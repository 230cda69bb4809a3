"""What a benchmark says, field by field; units are in the names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.flows.bench_sides import SideRecord


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlideFacts(_Record):
    """The slide; level-0 px, um/px."""

    path: str
    width: int
    height: int
    mpp_x: float
    mpp_y: float
    vendor: str
    reader: str


class EngineRecord(_Record):
    """How the work was spread. `threads`: of all workers; `gpu_threads`: those around GPUs."""

    executor: str
    workers: int
    threads: int
    gpu_threads: int


class WorkRecord(_Record):
    """What a run of the whole slide has before it."""

    regions: int = Field(description="regions with tissue in which cells are measured, or a stain is made")
    classifier_regions: int
    tissue_tiles: int = Field(description="tiles with tissue in those regions, the size of the stage `read`'s")
    classified_tiles: int = Field(description="tiles with enough tissue for the classifier, of its own size")
    tissue_mm2: float


class StageRecord(_Record):
    """One stage of a region's work, on one worker thread.

    Tiles are those with tissue, as large as the pass has them: those of two passes are not the same.
    """

    name: str
    in_pass: str = Field(description="survey, stain, classify or measure")
    tile_px: int = Field(description="side of a tile, px of the pass")
    tile_um: tuple[float, float] = Field(description="its width and height, um")
    tiles_per_s_per_core: float = Field(description="tiles with tissue, whatever else was worked on beside them")
    ceiling_tiles_per_s_per_core: float | None = Field(description="None where no honest ceiling is known")
    ceiling: str = Field(description="what the ceiling is, or why there is none")
    share_of_pass_percent: float


class OnceSeconds(_Record):
    """What a run pays once, s."""

    start: float = Field(description="Python, and the imports of the command")
    hash: float
    survey: float = Field(description="white, stain, tissue mask, first look")
    choose_networks: float
    start_workers: float = 0.0
    first_regions: float = Field(description="what the first regions take longer: imports of workers, networks loaded")
    finish: float = Field(0.0, description="aggregation, maps, tables, pictures")
    stop_workers: float = 0.0

    def total(self) -> float:
        """Return the sum, s."""
        return float(sum(self.model_dump().values()))


class Bottleneck(_Record):
    """What takes most of the run."""

    stage: str
    share_of_run_percent: float
    sentence: str


class BenchRecord(_Record):
    """All that `wsi-her2 bench --json` prints."""

    slide: SlideFacts
    stain: str
    evidence: str
    missing_networks: tuple[str, ...]
    networks: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    engine: EngineRecord
    settings: dict[str, Any]
    work: WorkRecord
    sampled_regions: int
    rounds: int = Field(description="rounds over the sample behind each median, the first one not counted")
    stages: tuple[StageRecord, ...]
    once_seconds: OnceSeconds
    passes_seconds: dict[str, float] = Field(description="regions of the whole slide with all workers, by pass")
    bottleneck: Bottleneck
    predicted_seconds: float
    predicted_minutes: float
    predicted_tiles_per_s: float = Field(description="tissue tiles, or classified ones where no cells are measured")
    compared: tuple[SideRecord, ...] = ()
