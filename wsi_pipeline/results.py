"""The record that a run leaves: `result.json`, field by field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.geometry import Box

SCHEMA_VERSION = "2.1"
"""Major number changes when a field changes meaning or goes, minor when one is added."""

NOTICE = "Research use only. Not a medical device; not for diagnosis."

VIRTUAL_NOTICE = f"Research use only, inferred from H&E: the stain is virtual. {NOTICE.split('. ', 1)[1]}"

Score = Literal["0", "1+", "2+", "3+", "not evaluable"]
Category = Literal["null", "ultralow", "low", "negative", "equivocal", "positive", "not evaluable"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlideRecord(_Record):
    """Which file was scored, and how large its pixels are."""

    name: str = Field("", description="file name")
    path: str = Field(
        description="relative to the run folder where one folder of the user's holds slide and results, else the name; "
        "of a slide at a URL the URL, without user and query"
    )
    local_path: str | None = Field(
        None, description="path on the machine that scored it, where `path` is the name alone; never for publication"
    )
    width: int = Field(description="level-0 px, as viewers show the slide")
    height: int = Field(description="level-0 px, as viewers show the slide")
    mpp_x: float = Field(description="um/px")
    mpp_y: float = Field(description="um/px")
    mpp_source: str
    vendor: str
    sha256: str
    reader: str
    bounds_x: int = Field(description="offset of the shown frame in the file's full frame, level-0 px")
    bounds_y: int = Field(description="offset of the shown frame in the file's full frame, level-0 px")


class StainRecord(_Record):
    """How the stain was known, and what separates it."""

    source: Literal["option", "detected"]
    confidence: float = Field(description="0-1; 1 when the option says so")
    evidence: dict[str, float]
    white: tuple[float, float, float] = Field(description="the slide's glass, R, G, B grey levels")
    white_source: str


class ShareRecord(_Record):
    """The share that decides the score, percent, with its bootstrap interval over tiles."""

    quantity: str = Field(description="strong, complete, incomplete or stained: which share is compared with 10 %")
    value: float
    low: float
    high: float


class ScoreRecord(_Record):
    """The verdict on a slide or on one piece of it."""

    score: Score
    category: Category
    reason: str
    borderline: bool
    shares: dict[str, float] | None = Field(description="percent of tumour cells: 0, 1+, 2+, 2i, 3+; null: not scored")
    measured_shares: dict[str, float] | None = Field(
        None, description="the same where nothing is scored: measured, and no evidence of the HER2 class"
    )
    deciding_share: ShareRecord | None
    h_score: float | None = Field(description="0-300")
    tumour_cells: int
    clusters: dict[str, int] | None = Field(
        None, description="of a biopsy: cells in the largest cluster stained 1+ or more, 2+ or more, 3+"
    )


class PieceRecord(ScoreRecord):
    """One separate piece of tissue."""

    number: int = Field(description="as drawn on the overlay")
    tissue_mm2: float
    box_l0: Box = Field(description="x, y, width, height, level-0 px")
    scored: bool = Field(description="whether the slide score counts it")


class CellCounts(_Record):
    """How many cells stand behind the score."""

    measured: int = Field(description="all nuclei measured in scored tissue")
    tumour: int = Field(description="those counted as tumour: the denominator")
    tumour_rule: str


class TileRecord(ScoreRecord):
    """What the tile classifier says, beside or instead of the cells."""

    classified: int = Field(description="tiles that count: with enough tissue, accepted, in scored pieces")
    weighted_by: Literal["tumour cells", "tissue"]
    mean_entropy_bits: float | None = Field(description="uncertainty of the tiles that count, 0-2 bits")
    cam_contrast: str | None = Field(description="what the CAM map explains, such as 3+ against 2+")
    cam_limit: float | None = Field(description="logit units at which its colours end")
    cam_glass: float | None = Field(
        None, description="that margin of a tile of glass, logits, which every value of the map includes"
    )


class QualityRecord(_Record):
    """What the filter said of a virtual stain's tiles."""

    judged: int = Field(description="tiles with enough tissue")
    rejected: int = Field(description="tiles that failed any check; nothing in them is scored")
    reasons: dict[str, int] = Field(description="tiles by failed check; a tile may fail several")
    not_made: tuple[str, ...] = Field(description="checks that could not be made here")


class RegionRecord(_Record):
    """What the score was restricted to."""

    source: Literal["tissue", "roi"]
    roi: dict[str, Any] | None
    pieces: tuple[int, ...] | None = Field(description="the pieces asked for; null means all")


class Result(_Record):
    """Everything that `result.json` says."""

    schema_version: str = SCHEMA_VERSION
    notice: str = NOTICE
    slide: SlideRecord
    stain: Literal["ihc", "he", "unknown"]
    stain_detail: StainRecord
    score: Score
    category: Category
    reason: str
    borderline: bool
    shares: dict[str, float] | None
    measured_shares: dict[str, float] | None = Field(
        None, description="shares where nothing is scored: measured, and no evidence of the HER2 class"
    )
    deciding_share: ShareRecord | None
    h_score: float | None
    clusters: dict[str, int] | None = Field(
        None, description="of a biopsy: cells in the largest cluster stained 1+ or more, 2+ or more, 3+"
    )
    tumour: Literal["breast", "gastroesophageal"] = Field("breast", description="whose rule was applied")
    specimen: Literal["resection", "biopsy"] | None = Field(
        None, description="null: breast cancer, which has one rule for both"
    )
    rule: str = Field("ASCO/CAP 2018, affirmed 2023", description="the guideline")
    cells: CellCounts
    tissue_mm2: float = Field(description="tissue that was scored, mm2")
    scored_region: RegionRecord
    pieces: tuple[PieceRecord, ...]
    evidence: Literal["cells", "tiles", "cells and tiles", "none"]
    agreement: Literal["agree", "one category apart", "apart", "one evidence only"] = Field(
        description="whether cells and tiles give the same score"
    )
    confidence: Literal["high", "moderate", "low", "none"] = Field(description="never above low on a virtual stain")
    confidence_reasons: tuple[str, ...] = Field((), description="what takes confidence, in words")
    score_set: tuple[Score, ...] = Field(
        (), description="scores that the evidence does not tell apart: cut-offs moved as far as sites differ give them"
    )
    score_moves: dict[str, float] = Field(
        {}, description="score -> how far cut-offs must be moved to give it, doublings of density; 0 for the score"
    )
    tiles: TileRecord | None = Field(description="the tile classifier's own score")
    virtual_stain: bool = Field(description="whether everything was measured on a stain inferred from H&E")
    quality: QualityRecord | None = Field(description="of the virtual stain")
    networks: dict[str, Any] = Field(description="stainer and classifier: manifest, and how they were run")
    assay: str
    warnings: tuple[str, ...]
    outputs: dict[str, Any] = Field(description="paths relative to the run folder")
    provenance: dict[str, Any]
