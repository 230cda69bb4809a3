"""What the result says of its evidence: networks, classified tiles, quality of a virtual stain, and agreement."""

from __future__ import annotations

from typing import Any

from wsi_pipeline.flows.gather import Gathered
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.record import Verdicts, score_record
from wsi_pipeline.flows.tile_maps import TileScales
from wsi_pipeline.results import QualityRecord, TileRecord
from wsi_pipeline.scoring.moved import score_set
from wsi_pipeline.stain.quality import REASONS, QualityOptions

MOST_MPP_RATIO = 1.25
"""Between the tiles' pixel size and the one at which the quality limits hold; sharpness changes with it."""


def evidence_records(
    plan: RunPlan, gathered: Gathered, verdicts: Verdicts, scales: TileScales | None
) -> dict[str, Any]:
    """Return the fields of the result that say what its score rests on."""
    return {
        "evidence": "none" if verdicts.slide.shares is None else plan.evidence,
        "agreement": verdicts.agreement,
        "confidence": verdicts.confidence,
        "confidence_reasons": verdicts.why,
        "score_set": score_set(verdicts.nearest),
        "score_moves": {name: move.size if move else 0.0 for name, move in verdicts.nearest.items()},
        "tiles": _tile_record(plan, gathered, verdicts, scales),
        "virtual_stain": plan.virtual,
        "quality": _quality_record(gathered),
        "networks": {kind: chosen.record() for kind, chosen in plan.networks.chosen().items()},
    }


def _tile_record(plan: RunPlan, gathered: Gathered, verdicts: Verdicts, scales: TileScales | None) -> TileRecord | None:
    """Return what the classifier says, or None where there is none."""
    if verdicts.tiles is None:
        return None
    tiles = gathered.model_tiles
    entropy = tiles["entropy_bits"][tiles["scored"]]
    return TileRecord(
        **score_record(verdicts.tiles).model_dump(),
        classified=int(tiles["scored"].sum()),
        weighted_by="tumour cells" if plan.measures_cells else "tissue",
        mean_entropy_bits=round(float(entropy.mean()), 3) if len(entropy) else None,
        cam_contrast=scales.contrast if scales else None,
        cam_limit=round(scales.limit, 4) if scales else None,
        cam_glass=round(scales.glass, 4) if scales else None,
    )


def _quality_record(gathered: Gathered) -> QualityRecord | None:
    """Return what the filter said of a virtual stain's tiles."""
    tiles = gathered.model_tiles
    if "failed" not in tiles:
        return None
    rejected = tiles["failed"].sum(axis=0)
    not_made = ("label",) if "logits" in tiles else ("unsure", "label")
    reasons = {name: int(rejected[column]) for column, name in enumerate(REASONS) if name not in not_made}
    return QualityRecord(
        judged=len(tiles["tile"]), rejected=int((~tiles["accepted"]).sum()), reasons=reasons, not_made=not_made
    )


def evidence_warnings(
    plan: RunPlan, gathered: Gathered, verdicts: Verdicts, quality: QualityOptions
) -> tuple[str, ...]:
    """Return what a reader of the score must know of its evidence."""
    found = list(plan.networks.missing) if not plan.refusal and plan.virtual else []
    if plan.virtual:
        found.append("everything was measured on a virtual stain, inferred from H&E; it is no substitute for IHC")
    if verdicts.doubt:
        found.append(verdicts.doubt)
    cells, tiles = verdicts.cells, verdicts.tiles
    if cells is not None and tiles is not None and verdicts.agreement in {"one category apart", "apart"}:
        found.append(f"cells say {cells.score}, the tile classifier says {tiles.score}; the score is that of the cells")
    record = _quality_record(gathered)
    if record is not None and record.rejected:
        shares = ", ".join(f"{name} {count}" for name, count in record.reasons.items() if count)
        found.append(f"{record.rejected} of {record.judged} tiles of the virtual stain were rejected: {shares}")
    if record is not None and plan.tile_grid is not None:
        mpp = max(plan.tile_grid.mpp)
        if not 1 / MOST_MPP_RATIO <= mpp / quality.mpp <= MOST_MPP_RATIO:
            found.append(f"the quality limits hold at {quality.mpp:g} um/px, the tiles have {mpp:.3g} um/px")
    return tuple(found)
