"""Records of runs that never were, tables of labels for them, and a quick evaluation of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsi_pipeline.flows.evaluate import EvaluateRequest, Evaluation, evaluate
from wsi_pipeline.results import (
    CellCounts,
    RegionRecord,
    Result,
    ScoreRecord,
    SlideRecord,
    StainRecord,
    TileRecord,
)
from wsi_pipeline.scoring.agreement import AgreementOptions

QUICK = AgreementOptions(rounds=200)
CATEGORY = {"0": "null", "1+": "low", "2+": "equivocal", "3+": "positive", "not evaluable": "not evaluable"}
SHARES = {"0": 40.0, "1+": 30.0, "2+": 10.0, "2i": 5.0, "3+": 15.0}


def verdict(score: str, borderline: bool = False) -> dict[str, Any]:
    """Return the fields of a score."""
    shares = None if score == "not evaluable" else SHARES
    return ScoreRecord(
        score=score, category=CATEGORY[score], reason="of the test", borderline=borderline, shares=shares,
        deciding_share=None, h_score=None, tumour_cells=500,
    ).model_dump()  # fmt: skip


def leave_run(folder: Path, slide: str, score: str, **fields: Any) -> Path:
    """Write the result.json of a run that scored `slide`; `tiles` is the classifier's score, None without one."""
    tiles, borderline = fields.pop("tiles", None), fields.pop("borderline", False)
    record = TileRecord(
        **verdict(tiles), classified=50, weighted_by="tumour cells", mean_entropy_bits=0.4, cam_contrast=None,
        cam_limit=None,
    ) if tiles else None  # fmt: skip
    own = verdict(score, borderline)
    del own["tumour_cells"]
    values: dict[str, Any] = {
        "evidence": "cells and tiles" if tiles else "cells", "agreement": "one evidence only",
        "confidence": "none" if score == "not evaluable" else "moderate", "virtual_stain": False, "quality": None,
        "provenance": {"settings_sha256": "a"},
    }  # fmt: skip
    result = Result(
        slide=SlideRecord(
            path=slide, width=900, height=700, mpp_x=0.25, mpp_y=0.26, mpp_source="file", vendor="aperio", sha256="0",
            reader="openslide", bounds_x=0, bounds_y=0,
        ),
        stain="ihc",
        stain_detail=StainRecord(source="option", confidence=1, evidence={}, white=(250, 250, 250), white_source="x"),
        cells=CellCounts(measured=600, tumour=500, tumour_rule="x"), tissue_mm2=1.0,
        scored_region=RegionRecord(source="tissue", roi=None, pieces=None), pieces=(), tiles=record, networks={},
        assay="default", warnings=(), outputs={}, **(values | own | fields),
    )  # fmt: skip
    folder.mkdir(parents=True)
    path = folder / "result.json"
    path.write_text(result.model_dump_json(), encoding="utf-8")
    return path


def write_truth(path: Path, *lines: str) -> Path:
    """Write a table of labels."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def run(truth: Path, *results: Path, out: str = "report") -> Evaluation:
    """Evaluate with few rounds."""
    return evaluate(EvaluateRequest(truth, results, truth.parent / out, QUICK))
