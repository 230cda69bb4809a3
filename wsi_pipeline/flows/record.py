"""From gathered cells to verdicts: the slide's, and one for each piece of tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from wsi_pipeline.config import Settings
from wsi_pipeline.flows.gather import Gathered
from wsi_pipeline.flows.nearby import scores_nearby, unlike_known
from wsi_pipeline.flows.nuclear_dab import joined_area
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.results import PieceRecord, ScoreRecord, ShareRecord
from wsi_pipeline.scoring.clusters import largest_clusters
from wsi_pipeline.scoring.evidence import Agreement, Confidence, Grounds, TileVotes, compare, confidence, score_votes
from wsi_pipeline.scoring.moved import Move
from wsi_pipeline.scoring.rule import RuleOptions, Score
from wsi_pipeline.scoring.slide_score import SlideScore, score_biopsy, score_tiles
from wsi_pipeline.stain.compartment import described, looks_nuclear, why_nuclear

NOTHING = SlideScore("not evaluable", "not evaluable", "", borderline=False, shares=None, interval=None, tumour_cells=0)
"""A score of nothing; its reason is to be filled in."""

DOUBTFUL_BODIES = 3
"""Stained nuclei from which a warning is due where they hold most of what is stained; one or two may be dust."""


@dataclass(frozen=True)
class Verdicts:
    """The slide's score and that of each piece of tissue by its number, and the slide's score by kind of evidence.

    `why`: what takes confidence; `nearest`: scores that moved cut-offs give. `doubt`: a warning that the little that is
    stained lies in nuclei, or empty. `disbelief`: why a virtual stain is no evidence, or empty.
    """

    slide: SlideScore
    pieces: dict[int, SlideScore]
    cells: SlideScore | None
    tiles: SlideScore | None
    agreement: Agreement
    confidence: Confidence
    why: tuple[str, ...]
    nearest: Mapping[Score, Move | None]
    doubt: str
    disbelief: str


def score_all(plan: RunPlan, gathered: Gathered, survey: Survey, settings: Settings, disbelief: str = "") -> Verdicts:
    """Score the slide and each of its pieces: by cells where they are measured, else by classified tiles.

    `disbelief`: why the virtual stain is no evidence; nothing is then scored.
    """
    rule = settings.rule
    areas = {piece.number: piece.area_mm2 for piece in survey.tissue.pieces}
    by_cells = plan.measures_cells
    cells = _cells_score(plan, gathered, None, survey.tissue_mm2, rule) if by_cells else None
    votes = "class_index" in gathered.model_tiles
    tiles = _tiles_score(gathered, None, survey.tissue_mm2, rule, by_cells=by_cells) if votes else None
    slide = cells or tiles or replace(NOTHING, reason=plan.refusal or "no tile holds enough tissue")
    pieces = {}
    for number, area in areas.items():
        if cells is not None:
            pieces[number] = _cells_score(plan, gathered, number, area, rule)
        elif tiles is not None:
            pieces[number] = _tiles_score(gathered, number, area, rule, by_cells=False)
        else:
            pieces[number] = slide
    nuclear, doubt = _nuclear_stain(gathered, survey.pieces, settings)
    if nuclear:
        cells, tiles, slide = (
            cells and _withheld(cells, nuclear),
            tiles and _withheld(tiles, nuclear),
            _withheld(slide, nuclear),
        )
    if disbelief:
        cells, tiles = cells and _withheld(cells, disbelief), tiles and _withheld(tiles, disbelief)
        slide = _withheld(slide, disbelief)
    for number, score in pieces.items():
        reason = disbelief or nuclear or _nuclear_stain(gathered, (number,), settings)[0]
        pieces[number] = _withheld(score, reason) if reason else score
    agreement = compare(cells, tiles)
    classifier = plan.networks.classifier
    proven = classifier is None or classifier.manifest.saw_real_tissue
    nearest = scores_nearby(slide, gathered.cells, plan.assay, rule, plan.grid.mpp_l0) if by_cells else {}
    unlike = unlike_known(slide, gathered.cells, survey.tissue_mm2) if by_cells else ()
    trust, why = confidence(slide, Grounds(agreement, nearest, unlike, plan.virtual, proven))
    return Verdicts(slide, pieces, cells, tiles, agreement, trust, why, nearest, doubt, disbelief)


def _nuclear_stain(gathered: Gathered, pieces: tuple[int, ...], settings: Settings) -> tuple[str, str]:
    """Return why the stain of some pieces is nuclear, or else what makes one doubt that it is not; both may be empty.

    A stain is one over the whole slide, so what holds for the slide holds for each of its pieces.
    """
    area, options = joined_area(gathered.stained, pieces), settings.nuclear_stain
    tumour = membranes = 0
    if gathered.cells:
        counted = np.isin(gathered.cells["piece"], pieces) & gathered.cells["tumour"]
        tumour = int(counted.sum())
        membranes = int((gathered.cells["class_index"][counted] > 0).sum())
    reason = why_nuclear(area, tumour, membranes, options)
    if reason or area.bodies < DOUBTFUL_BODIES or not looks_nuclear(area, membranes, options):
        return reason, ""
    return "", f"what is stained may be nuclei, as Ki67 does: {described(area, tumour, membranes)}"


def _withheld(score: SlideScore, reason: str) -> SlideScore:
    """Return what was measured without a verdict."""
    return replace(score, score="not evaluable", category="not evaluable", reason=reason, borderline=False)


def _cells_score(
    plan: RunPlan, gathered: Gathered, piece: int | None, area_mm2: float, rule: RuleOptions
) -> SlideScore:
    """Score the cells of one piece, or of all that count."""
    if "failed" in gathered.model_tiles and not gathered.model_tiles["accepted"].any():
        return replace(NOTHING, reason="the quality filter rejected every tile of the virtual stain")
    if not gathered.cells:
        return replace(NOTHING, reason=plan.refusal or "no tumour cells")
    cells = gathered.cells
    chosen = cells["scored"] if piece is None else cells["piece"] == piece
    counts = gathered.counts(chosen)
    if not rule.by_clusters:
        return score_tiles(counts, area_mm2, rule)
    counted, mpp = chosen & cells["tumour"], plan.grid.mpp_l0
    place_um = np.stack([cells["x_l0"][counted] * mpp.x, cells["y_l0"][counted] * mpp.y], axis=1)
    clusters = largest_clusters(place_um, cells["class_index"][counted], rule.cluster_um)
    return score_biopsy(counts, clusters, area_mm2, rule)


def _tiles_score(
    gathered: Gathered, piece: int | None, area_mm2: float, rule: RuleOptions, *, by_cells: bool
) -> SlideScore:
    """Score the classified tiles of one piece, or of all that count, where the classifier knows the rule."""
    if rule.tumour != "breast":
        return replace(NOTHING, reason="tiles were learnt by the rule of breast cancer; score by cells")
    tiles = gathered.model_tiles
    chosen = tiles["scored"] if piece is None else tiles["accepted"] & (tiles["piece"] == piece)
    weights = tiles["tumour_cells"] if by_cells else tiles["tissue_share"]
    votes = TileVotes(tiles["class_index"][chosen], weights[chosen].astype(np.float64), by_cells)
    return score_votes(votes, area_mm2, rule)


def score_record(score: SlideScore) -> ScoreRecord:
    """Return the score as it is written to result.json; figures rounded to what the cells can bear.

    Where nothing is scored, the shares are told as measured, and there is neither an interval nor an H-score.
    """
    scored = score.score != "not evaluable"
    shares = interval = None
    if score.shares is not None:
        names = ("0", "1+", "2+", "2i", "3+")
        s = score.shares
        values = (s.none, s.faint, s.moderate, s.incomplete, s.strong)
        shares = {name: round(value, 3) for name, value in zip(names, values, strict=True)}
    if score.interval is not None and scored:
        i = score.interval
        interval = ShareRecord(
            quantity=i.quantity, value=round(i.value, 3), low=round(i.low, 3), high=round(i.high, 3)
        )  # fmt: skip
    return ScoreRecord(
        score=score.score,
        category=score.category,
        reason=score.reason,
        borderline=score.borderline,
        shares=shares if scored else None,
        measured_shares=None if scored else shares,
        deciding_share=interval,
        h_score=round(score.shares.h_score, 2) if score.shares is not None and scored else None,
        tumour_cells=score.tumour_cells,
        clusters=dict(zip(("1+", "2+", "3+"), score.clusters, strict=True)) if score.clusters is not None else None,
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
