"""From gathered cells to verdicts: the slide's, and one for each piece of tissue."""

from __future__ import annotations

from dataclasses import dataclass

from wsi_pipeline.flows.gather import Gathered
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.results import PieceRecord, ScoreRecord, ShareRecord
from wsi_pipeline.scoring.rule import RuleOptions
from wsi_pipeline.scoring.slide_score import SlideScore, score_tiles

STAIN_REFUSALS = {
    "he": "the slide is H&E, and HER2 is measured on IHC; a virtual stain is not scored",
    "unknown": "the stain is neither H&E nor hematoxylin with DAB; say --stain ihc to measure it all the same",
}


@dataclass(frozen=True)
class Verdicts:
    """The slide's score, and the score of each piece of tissue by its number."""

    slide: SlideScore
    pieces: dict[int, SlideScore]


def score_all(gathered: Gathered, survey: Survey, rule: RuleOptions) -> Verdicts:
    """Score the slide and each of its pieces."""
    refusal = _refusal(survey)
    if refusal or not gathered.cells:
        refused = SlideScore(
            "not evaluable", "not evaluable", refusal or "no tumour cells", False, None, None, 0
        )  # fmt: skip
        return Verdicts(refused, {piece.number: refused for piece in survey.tissue.pieces})
    slide = score_tiles(gathered.counts(gathered.cells["scored"]), survey.tissue_mm2, rule)
    pieces = {}
    for piece in survey.tissue.pieces:
        counts = gathered.counts(gathered.cells["piece"] == piece.number)
        pieces[piece.number] = score_tiles(counts, piece.area_mm2, rule)
    return Verdicts(slide, pieces)


def _refusal(survey: Survey) -> str:
    """Return why nothing can be measured, or nothing."""
    if not survey.tissue.mask.any():
        return "no tissue was found"
    if not survey.scored.any():
        return "the drawn region holds no tissue"
    return STAIN_REFUSALS.get(survey.stain, "")


def score_record(score: SlideScore) -> ScoreRecord:
    """Return the score as it is written to result.json; figures rounded to what the cells can bear."""
    shares = interval = None
    if score.shares is not None:
        names = ("0", "1+", "2+", "2i", "3+")
        s = score.shares
        values = (s.none, s.faint, s.moderate, s.incomplete, s.strong)
        shares = {name: round(value, 3) for name, value in zip(names, values, strict=True)}
    if score.interval is not None:
        i = score.interval
        interval = ShareRecord(
            quantity=i.quantity, value=round(i.value, 3), low=round(i.low, 3), high=round(i.high, 3)
        )  # fmt: skip
    return ScoreRecord(
        score=score.score,
        category=score.category,
        reason=score.reason,
        borderline=score.borderline,
        shares=shares,
        deciding_share=interval,
        h_score=round(score.shares.h_score, 2) if score.shares is not None else None,
        tumour_cells=score.tumour_cells,
    )


def piece_records(survey: Survey, verdicts: Verdicts) -> tuple[PieceRecord, ...]:
    """Return one record per piece of tissue, by number."""
    return tuple(
        PieceRecord(
            number=piece.number,
            tissue_mm2=round(piece.area_mm2, 4),
            box_l0=survey.shown(piece.bbox_mask),
            scored=piece.number in survey.pieces,
            **score_record(verdicts.pieces[piece.number]).model_dump(),
        )
        for piece in survey.tissue.pieces
    )
