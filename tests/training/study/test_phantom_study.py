"""A study of phantoms with a stainer that was given, and its pieces for patches of awkward sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REASON = "needs the train extra: pip install '.[train]'"
for package in ("torch", "torchvision", "safetensors", "matplotlib"):
    pytest.importorskip(package, reason=REASON)

from wsi_pipeline.models.manifest import read_manifest  # noqa: E402
from wsi_pipeline.training.data.index import read_index  # noqa: E402
from wsi_pipeline.training.data.splits import require_no_leak  # noqa: E402
from wsi_pipeline.training.study.files import read_table  # noqa: E402
from wsi_pipeline.training.study.options import StudyRequest  # noqa: E402
from wsi_pipeline.training.study.run import run_study  # noqa: E402
from wsi_pipeline.training.study.virtual import Stainer, load_stainer, stained  # noqa: E402


@pytest.fixture(scope="module")
def phantoms(done: Path, tmp_path_factory: pytest.TempPathFactory, study_of: Callable[..., StudyRequest]) -> Path:
    """Return the folder of a study of phantoms whose filter lets nothing pass."""
    out = tmp_path_factory.mktemp("phantoms") / "out"
    run_study(study_of("phantoms", out, {"quality.least_confidence": 1.0}, stainer="stainer", weights=done / "stainer"))
    return out


def test_phantoms_are_split_by_phantom(phantoms: Path) -> None:
    patches = read_index(phantoms / "data.csv")
    require_no_leak(patches)
    assert len(patches) == 24
    for split in ("train", "val", "test"):
        chosen = [patch for patch in patches if patch.split == split]
        assert {patch.label for patch in chosen} == {0, 1, 2, 3}
        assert all(patch.slide.startswith("phantom_") for patch in chosen)


def test_the_report_says_what_phantoms_cannot_show(phantoms: Path) -> None:
    notes = json.loads((phantoms / "study.json").read_text())["warnings"]
    assert any("nothing shows the HER2 class" in note for note in notes)
    assert any("No virtual tile was accepted" in note for note in notes)
    assert any("The stainer stainer was given" in note for note in notes)
    assert "nothing shows the HER2 class" in (phantoms / "report.html").read_text(encoding="utf-8")


def test_its_classifier_never_saw_real_tissue(done: Path, phantoms: Path) -> None:
    assert not read_manifest(phantoms / "baseline" / "baseline.json").saw_real_tissue
    for name in ("baseline", "retrained", "stainer"):
        assert read_manifest(done / name / f"{name}.json").saw_real_tissue


def test_where_nothing_is_accepted_the_baseline_stands(phantoms: Path) -> None:
    assert not (phantoms / "retrained").exists()
    table = {row["classifier"]: row for row in read_table(phantoms / "study.csv")}
    assert table["retrained"]["accuracy"] == table["baseline"]["accuracy"]
    assert float(table["retrained - baseline"]["accuracy"]) == 0
    assert not any(patch.synthetic for patch in read_index(phantoms / "index.csv"))


def test_any_size_is_stained_whole(done: Path) -> None:
    stainer = load_stainer("stainer", done / "stainer", "cpu")
    he = np.random.default_rng(4).integers(90, 250, (131, 177, 3), dtype=np.uint8)
    virtual = stained(he, stainer, 0.46)
    assert virtual.shape == he.shape
    inner = stainer.stain(he[:128, :176])
    assert (virtual[:48, :80] == inner[:48, :80]).mean() > 0.99, "the filling at the edge reaches 72 px"


def test_other_pixel_sizes_are_brought_to_the_stainers() -> None:
    seen: list[tuple[int, ...]] = []

    def stain(he: np.ndarray) -> np.ndarray:
        seen.append(he.shape)
        return he

    class Card:
        mpp = 0.5

    he = np.full((120, 200, 3), 77, np.uint8)
    stainer = Stainer(Card(), stain)  # type: ignore[arg-type]
    assert stained(he, stainer, 0.25).shape == he.shape
    assert seen == [(60, 100, 3)]
    assert (stained(he, stainer, 0.25) == 77).all()
    assert stained(he, stainer, 0.49).shape == he.shape
    assert seen[-1] == (120, 200, 3), "a difference of a few percent is left alone"
