"""Calibration on phantoms of a lab that stains weaker, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsi_pipeline.cells.classify import CELL_CLASSES
from wsi_pipeline.cells.options import AssayProfile, CellOptions
from wsi_pipeline.config import load_assay, load_settings
from wsi_pipeline.errors import OutputError, UsageError
from wsi_pipeline.flows.calibrate import CalibrateRequest, Calibration, calibrate, write_profile
from wsi_pipeline.flows.calibrate_fit import Cutoffs, FitOptions, Search
from wsi_pipeline.flows.calibrate_measure import CellPool, CellTable, reuse
from wsi_pipeline.flows.labels import Label
from wsi_pipeline.flows.matching import read_run
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.scoring.evidence import SCORES
from wsi_pipeline.scoring.rule import RuleOptions
from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, random_options, write_slide

SIZE = (1710, 1390)
LABELS = {"null": "0", "ultralow": "0", "1+": "1+", "2+": "2+", "3+": "3+", "9% 3+": "2+", "12% 3+": "3+"}
WEAK = 0.4
"""What a weaker lab's DAB is, times the usual."""

START = AssayProfile(name="start")


def weaker(options: PhantomOptions, factor: float) -> PhantomOptions:
    """Return a phantom whose every DAB density is `factor` times as dense."""
    looks = {
        name: look.model_copy(update={"od": (factor * look.od[0], factor * look.od[1])})
        for name, look in options.looks.items()
    }
    staining = options.staining
    blush = {
        "blush_od": (factor * staining.blush_od[0], factor * staining.blush_od[1]),
        "background_dab": factor * staining.background_dab,
    }
    return options.model_copy(update={"looks": looks, "staining": staining.model_copy(update=blush)})


def paint(folder: Path, seed: int, target: Any, factor: float = WEAK) -> Path:
    """Write one phantom of a lab that stains weaker, with other stain vectors and white point by seed."""
    name = f"{target}_{seed}".replace("%", "").replace(" ", "_")
    return write_slide(make_phantom(weaker(random_options(seed, target, SIZE), factor)), folder / f"{name}.svs")


def score(slide: Path, out: Path, assay: str) -> str:
    """Return the product's score of a slide under a profile."""
    settings = load_settings("serial", {"assay": assay, "evidence": "cells"})
    return score_slide(ScoreRequest(slide, out, settings))[0].score


def write_labels(path: Path, rows: dict[str, str], head: str = "path,score") -> Path:
    """Write a table of labels."""
    path.write_text("\n".join([head, *(f"{name},{label}" for name, label in rows.items())]) + "\n", encoding="utf-8")
    return path


def request(labels: Path, out: str = "lab.yaml", **fields: Any) -> CalibrateRequest:
    """Return a request from the default profile."""
    return CalibrateRequest(labels, labels.parent / out, load_settings("serial", {}), **fields)


@pytest.fixture(scope="module")
def weak_lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Calibration, CalibrateRequest]:
    """Return a calibration on seven weakly stained phantoms, one of each target."""
    folder = tmp_path_factory.mktemp("lab")
    rows = {paint(folder, 101, target).name: label for target, label in LABELS.items()}
    asked = request(write_labels(folder / "labels.csv", rows), faint=(0.05,))
    found = calibrate(asked)
    write_profile(found, asked)
    return found, asked


@pytest.mark.slow
def test_a_weaker_lab_fails_by_default_and_is_restored_on_held_out_seeds(
    weak_lab: tuple[Calibration, CalibrateRequest], tmp_path: Path
) -> None:
    profile = weak_lab[1].out
    right = {"default": 0, str(profile): 0}
    for target in ("1+", "2+", "3+", "12% 3+"):
        slide = paint(tmp_path, 901, target)
        for number, assay in enumerate(right):
            right[assay] += score(slide, tmp_path / f"{slide.stem}_{number}", assay) == LABELS[target]
    assert right["default"] <= 2
    assert right[str(profile)] == 4


@pytest.mark.slow
def test_left_out_images_are_scored_better_than_by_the_start_profile(
    weak_lab: tuple[Calibration, CalibrateRequest],
) -> None:
    found = weak_lab[0]
    right = {name: int((getattr(found, name) == found.labels).sum()) for name in ("start", "fitted", "held_out")}
    assert right["start"] <= 5
    assert right["held_out"] > right["start"]
    assert right["fitted"] == 7
    assert found.agreement["held_out"]["accuracy, four classes"].value == right["held_out"] / 7
    assert not [warning for warning in found.warnings if "keep the old one" in warning]
    profile = found.profile
    assert profile.faint < profile.moderate < profile.intense < START.intense
    assert profile.stained < profile.complete


@pytest.mark.slow
def test_the_search_classifies_as_the_product_does(
    weak_lab: tuple[Calibration, CalibrateRequest], tmp_path: Path
) -> None:
    found, asked = weak_lab
    for number in (3, 6):
        slide = asked.labels.parent / found.images[number].label.name
        assert score(slide, tmp_path / str(number), str(asked.out)) == SCORES[found.fitted[number]]


@pytest.mark.slow
def test_the_profile_says_how_it_was_set(weak_lab: tuple[Calibration, CalibrateRequest]) -> None:
    found, asked = weak_lab
    profile = load_assay(str(asked.out))
    assert profile == found.profile
    for words in ("7 labelled images", "2 of 0", "left out in turn", "quadratic kappa", "Research use only"):
        assert words in profile.how_set
    held = found.agreement["held_out"]["accuracy, four classes"]
    assert f"{held.value:.2f} ({held.low:.2f} to {held.high:.2f})" in profile.how_set


def test_counts_of_a_pool_are_those_of_the_run(tmp_path: Path) -> None:
    slide = paint(tmp_path, 7, "2+", 1.0)
    settings = load_settings("serial", {"evidence": "cells"})
    result, folder = score_slide(ScoreRequest(slide, tmp_path / "run", settings))
    image, faint = reuse(Label("a", 2, 2), folder / "result.json", settings, load_assay("default"))
    assert faint == START.faint
    pool = CellPool([image.cells[faint], image.cells[faint]], settings.cells)
    counts = pool.counts(load_assay("default"))
    assert counts.shape == (2, len(CELL_CLASSES))
    assert counts[0].tolist() == counts[1].tolist()
    assert counts[0].sum() == result.cells.tumour
    assert result.shares is not None
    names = ("0", "1+", "2i", "2+", "3+")
    np.testing.assert_allclose(
        100 * counts[0] / counts[0].sum(), [result.shares[name] for name in names], atol=1e-3
    )  # fmt: skip
    other = settings.model_copy(update={"cells": CellOptions(directions=30)})
    with pytest.raises(UsageError, match="other cell settings"):
        reuse(Label("a", 2, 2), folder / "result.json", other, load_assay("default"))
    assert read_run(folder / "result.json").result.score == "2+"


def table(generator: np.random.Generator, strong: float, intensity: float) -> CellTable:
    """Return 400 round cells of which a share `strong` has a complete membrane of about this density."""
    ringed = np.arange(400) < 400 * strong
    columns = (
        np.where(ringed, 0.95, 0.05), np.where(ringed, intensity * generator.uniform(0.9, 1.1, 400), 0.0),
        np.ones(400), np.full(400, 40.0), np.ones(400), np.full(400, 0.2),
    )  # fmt: skip
    return CellTable(tuple(np.asarray(column, np.float32) for column in columns))


def searched(tables: list[CellTable], labels: list[int], **options: Any) -> Search:
    """Return a search on tables that hold for any height of a membrane ridge."""
    pool = CellPool(tables, CellOptions())
    return Search(START, {0.035: pool, 0.07: pool}, np.array(labels), RuleOptions(), FitOptions(**options))


def made(*densities: float) -> list[CellTable]:
    """Return one table for each membrane density; 0 is unstained."""
    generator = np.random.default_rng(4)
    return [table(generator, 0.6 if density else 0.0, density) for density in densities]


EVERYBODY = np.ones(6, bool)


def test_labels_that_the_start_profile_gets_right_change_nothing() -> None:
    search = searched(made(0, 0, 0.45, 0.5, 1.1, 1.2), [0, 0, 2, 2, 3, 3])
    assert search.fit(EVERYBODY) == Cutoffs.of(START)


def test_the_cut_off_moves_to_where_the_labels_part() -> None:
    search = searched(made(0, 0, 0.2, 0.22, 0.5, 0.55), [0, 0, 2, 2, 3, 3])
    assert search.scores(Cutoffs.of(START)).tolist() == [0, 0, 2, 2, 2, 2]
    best = search.fit(EVERYBODY)
    assert search.scores(best).tolist() == [0, 0, 2, 2, 3, 3]
    assert 0.24 < best.intense < 0.55
    assert search.cost(best, EVERYBODY) < search.cost(Cutoffs.of(START), EVERYBODY)


def test_one_odd_label_does_not_swing_a_cut_off_far() -> None:
    search = searched(made(0, 0, 0.45, 0.5, 0.25, 1.2), [0, 0, 2, 2, 3, 3])
    best = search.fit(EVERYBODY)
    assert search.scores(best)[[0, 1, 2, 3, 5]].tolist() == [0, 0, 2, 2, 3]
    assert best.intense > 0.5


def test_a_stronger_prior_keeps_the_start_whatever_the_labels_say() -> None:
    held = searched(made(0, 0, 0.2, 0.22, 0.5, 0.55), [0, 0, 2, 2, 3, 3], scale_weight=500, own_weight=500)
    assert held.fit(EVERYBODY) == Cutoffs.of(START)


def test_the_order_of_images_does_not_matter() -> None:
    tables, labels = made(0, 0, 0.2, 0.22, 0.5, 0.55), [0, 0, 2, 2, 3, 3]
    order = [4, 0, 5, 2, 1, 3]
    other = searched([tables[place] for place in order], [labels[place] for place in order])
    assert searched(tables, labels).fit(EVERYBODY) == other.fit(EVERYBODY)


def no_runs(folder: Path) -> Callable[[int], dict[str, str]]:
    """Return what names so many files that are there but are no slides."""

    def rows(count: int) -> dict[str, str]:
        for number in range(count):
            (folder / f"{number}.png").write_text("no picture")
        return {f"{number}.png": ("0", "3+")[number % 2] for number in range(count)}

    return rows


def test_too_few_or_one_class_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    rows = no_runs(tmp_path)(6)
    with pytest.raises(UsageError, match="has 5 labelled images that can be scored, and a calibration needs 6"):
        calibrate(request(write_labels(tmp_path / "few.csv", dict(list(rows.items())[:5]))))
    with pytest.raises(UsageError, match=r"are labelled 2\+"):
        calibrate(request(write_labels(tmp_path / "one.csv", dict.fromkeys(rows, "2+"))))
    missing = rows | {"nowhere.png": "0"}
    with pytest.raises(UsageError, match=r"names nowhere\.png, which does not exist"):
        calibrate(request(write_labels(tmp_path / "missing.csv", missing)))
    labels = write_labels(tmp_path / "labels.csv", rows)
    for out, error in (("lab.txt", UsageError), ("labels.csv", OutputError)):
        with pytest.raises(error):
            calibrate(request(labels, out))
    with pytest.raises(UsageError, match="--faint"):
        calibrate(request(labels, faint=(-0.1,)))
    assert not list(tmp_path.glob("*.yaml"))


def test_pixel_sizes_that_make_no_sense_are_named(tmp_path: Path) -> None:
    rows = {f"{number}.png": "0,25" for number in range(6)}
    labels = write_labels(tmp_path / "l.csv", rows, "path,score,mpp")
    with pytest.raises(UsageError, match="mpp '25' is not a pixel size"):
        calibrate(request(labels))
