"""The H&E path with a stainer whose answer is known: it shows the IHC of the same tissue.

The phantom's H&E and IHC are two stains of one tissue, so what is measured on the virtual stain must be what is
measured on the IHC, in the places of the H&E slide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("safetensors", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.config import load_settings  # noqa: E402
from wsi_pipeline.errors import CorruptSlideError, UsageError, WeightsError  # noqa: E402
from wsi_pipeline.export.palette import CLASS_STYLES  # noqa: E402
from wsi_pipeline.export.zarr_map import MapStore  # noqa: E402
from wsi_pipeline.flows import stain_region  # noqa: E402
from wsi_pipeline.flows.request import ScoreRequest  # noqa: E402
from wsi_pipeline.flows.score import score_slide  # noqa: E402
from wsi_pipeline.geometry import Box  # noqa: E402
from wsi_pipeline.models import registry  # noqa: E402
from wsi_pipeline.models.choosing import choose_weights  # noqa: E402
from wsi_pipeline.models.light_ihcnet import LightIHCNet  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402
from wsi_pipeline.results import Result  # noqa: E402
from wsi_pipeline.slide import RescaledSlide, open_slide  # noqa: E402
from wsi_pipeline.slide.model import Pixels  # noqa: E402
from wsi_pipeline.training.phantom import PRESETS, make_phantom, write_slide  # noqa: E402
from wsi_pipeline.training.phantom.options import ArtefactOptions  # noqa: E402

MODEL_MPP = 0.46
WIDTH, HEIGHT = 2203, 1617
"""Level-0 px: nothing divides."""


BELIEVED: dict[str, Any] = {"mpp": MODEL_MPP, "licence": "none", "marker": "HER2", "trained_on": "real tissue"}
DOUBTED = {
    "blind": {"trained_on": "phantoms"}, "unknown": {"trained_on": "unknown"}, "unmarked": {"marker": None},
    "ki67": {"marker": "Ki-67"},
}  # fmt: skip
"""Weights whose stain is no evidence, and what their cards say otherwise."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    light = Generator(width=LIGHT_WIDTH, norm="folded").state_dict()
    save_weights(light, "pspstain-light", ModelCard(name="stainer", **BELIEVED), folder)
    for name, said in DOUBTED.items():
        save_weights(light, "pspstain-light", ModelCard(name=name, **(BELIEVED | said)), folder)
    tiles = LightIHCNet().eval().state_dict()
    save_weights(tiles, "ihcnet-light", ModelCard(name="tiles", mpp=0.5, licence="none"), folder)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the H&E and the IHC slide of one tissue, 3+."""
    folder = tmp_path_factory.mktemp("pair")
    options = PRESETS["three_plus"].model_copy(
        update={"seed": 77, "width": WIDTH, "height": HEIGHT, "artefacts": ArtefactOptions()}
    )
    he, ihc = make_phantom(options.model_copy(update={"stain": "he"})), make_phantom(options)
    return write_slide(he, folder / "he.svs", "he"), write_slide(ihc, folder / "ihc.svs", "ihc")


class KnownStainer:
    """Shows the IHC of the same tissue at the generator's pixel size."""

    needs_calibration = False

    def __init__(self, ihc: Path) -> None:
        self.view = RescaledSlide(open_slide(ihc), MODEL_MPP)

    def stain(self, read: Callable[[Box], np.ndarray], box: Box, field: None) -> np.ndarray:
        assert field is None
        read(box)
        return self.view.read(box)


@pytest.fixture
def known(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    stainer = KnownStainer(pair[1])
    monkeypatch.setattr(stain_region, "_network", lambda _network: stainer)


def run(slide: Path, out: Path, weights: Path | None, **settings: Any) -> tuple[Result, Path]:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    mild = {"quality.least_confidence": 0.0, "quality.most_brightness": 0.99, "quality.least_sharpness": 0.0}
    chosen = {"models.stainer": "stainer", "models.classifier": "tiles"} if weights else {}
    loaded = load_settings("serial", mild | chosen | named)
    return score_slide(ScoreRequest(slide, out, loaded, weights_folder=weights))


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_a_virtual_stain_is_measured_like_ihc_in_the_places_of_the_slide(
    pair: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    he, ihc = pair
    virtual, folder = run(he, tmp_path / "virtual", weights)
    assert virtual.score == "3+", virtual.reason
    assert (virtual.stain, virtual.virtual_stain, virtual.confidence) == ("he", True, "low")
    assert "inferred from H&E" in virtual.notice
    assert any("no substitute for IHC" in warning for warning in virtual.warnings)
    assert virtual.quality is not None
    assert virtual.quality.rejected == 0, virtual.quality.reasons
    assert virtual.quality.not_made == ("label",)
    assert virtual.networks["stainer"]["name"] == "stainer"
    real, real_folder = run(ihc, tmp_path / "real", None, models__classifier="none")
    assert real.score == "3+"
    here, there = _cells(folder), _cells(real_folder)
    away = np.hypot(*(here[:, None] - there[None]).transpose(2, 0, 1)).min(axis=1)
    assert len(here) > 0.6 * len(there)
    assert np.median(away) < 4.0, "level-0 px: about one px of the model"
    image = MapStore.open(folder / "maps" / "virtual_ihc.ome.zarr")
    assert image.size() == (1198, 879)  # 2203 and 1617 px of 0.25 um at 0.46 um


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_a_stainer_that_cannot_know_the_class_is_measured_but_scores_nothing(
    pair: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    knowing, knowing_folder = run(pair[0], tmp_path / "knowing", weights)
    blind, folder = run(pair[0], tmp_path / "blind", weights, models__stainer="blind")
    assert (knowing.score, blind.score, blind.category, blind.confidence) == (
        "3+", "not evaluable", "not evaluable", "none",
    )  # fmt: skip
    assert blind.reason == "the stainer never saw real tissue, so its stain is no evidence of HER2"
    assert blind.shares is blind.deciding_share is blind.h_score is None
    assert blind.measured_shares == knowing.shares, "what was measured is told all the same"
    assert knowing.measured_shares is None
    project = (folder / "project.qpproj").read_text(encoding="utf-8")
    assert "H-score" not in project
    assert "H-score" in (knowing_folder / "project.qpproj").read_text(encoding="utf-8")
    assert blind.tiles is not None
    assert {blind.tiles.score, *(piece.score for piece in blind.pieces)} == {"not evaluable"}
    assert all(piece.shares is piece.h_score is None for piece in blind.pieces)
    assert blind.networks["stainer"]["trained_on"] == "phantoms"
    assert (folder / "maps" / "her2_class.ome.zarr").exists()
    assert "3" in _painted(knowing_folder)
    assert not _painted(folder), "classes over the H&E would pass for evidence"


@pytest.mark.slow
@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("name", "reason"),
    [("unknown", "nobody said whether the stainer ever saw real tissue"), ("unmarked", "nobody said which marker")],
)
def test_what_nobody_said_is_not_believed(
    pair: tuple[Path, Path], weights: Path, tmp_path: Path, name: str, reason: str
) -> None:
    result, _ = run(pair[0], tmp_path / "out", weights, models__stainer=name)
    assert (result.score, result.shares, result.h_score) == ("not evaluable", None, None)
    assert result.reason.startswith(reason)


def test_a_stainer_of_another_marker_is_refused_before_work_starts(
    pair: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="ki67: stains Ki-67, and this run is of HER2"):
        run(pair[0], tmp_path / "out", weights, models__stainer="ki67")
    assert not (tmp_path / "out").exists()
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("ki67.json", "ki67.safetensors"):
        (alone / name).write_bytes((weights / name).read_bytes())
    with pytest.raises(WeightsError, match="stains Ki-67"):
        run(pair[0], tmp_path / "out", alone, models__stainer="auto", models__classifier="none")
    for name in ("stainer.json", "stainer.safetensors"):
        (alone / name).write_bytes((weights / name).read_bytes())
    assert choose_weights("stainer", "auto", alone, prefer_full=False).manifest.name == "stainer"


@pytest.mark.slow
def test_a_stain_that_does_not_look_like_dab_is_no_evidence(
    pair: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """Random weights paint confetti, whatever is said of them; the figures are told."""
    lenient = {"quality__least_brightness": 0.0, "quality__most_contrast": 0.5, "quality__least_contrast": 0.0}
    result, _ = run(pair[0], tmp_path / "out", weights, models__classifier="none", **lenient)
    assert (result.score, result.shares, result.h_score) == ("not evaluable", None, None)
    words = r"the virtual stain does not look like hematoxylin with DAB \((its colour is \d+ % pink, |\d+ px of its)"
    assert re.match(words, result.reason), result.reason


def _painted(folder: Path) -> set[str]:
    """Return the classes whose colour the overlay holds pure, as the legend shows what is painted."""
    picture = cv2.imread(str(folder / "overlay.png"))[..., ::-1]
    styles = {key: style.rgb for key, style in CLASS_STYLES.items() if key != "excluded"}
    return {key for key, rgb in styles.items() if (picture == rgb).all(axis=-1).sum() > 100}


def _cells(folder: Path) -> np.ndarray:
    table = pq.read_table(folder / "cells.parquet")
    tumour = table["tumour"].to_numpy()
    return np.stack([table["x_l0"].to_numpy()[tumour], table["y_l0"].to_numpy()[tumour]], axis=1)


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_what_the_filter_rejects_is_not_scored(pair: tuple[Path, Path], weights: Path, tmp_path: Path) -> None:
    every, folder = run(pair[0], tmp_path / "every", weights, quality__least_confidence=1.0)
    assert every.score == "not evaluable"
    assert every.reason == "the quality filter rejected every tile of the virtual stain"
    assert every.quality is not None
    assert every.quality.rejected == every.quality.judged == every.quality.reasons["unsure"] > 8
    assert pq.read_table(folder / "cells.parquet").num_rows == 0
    table = pq.read_table(folder / "model_tiles.parquet")
    assert table["rejected_unsure"].to_numpy().all()
    plain, folder = run(pair[0], tmp_path / "plain", weights, models__classifier="none")
    assert plain.score == "3+"
    assert plain.quality is not None
    assert plain.quality.not_made == ("unsure", "label")
    assert plain.tiles is None
    sharp = np.sort(_sharpness(folder))
    half = len(sharp) // 2
    limit = float(sharp[half - 1 : half + 1].mean())
    some, folder = run(pair[0], tmp_path / "some", weights, models__classifier="none", quality__least_sharpness=limit)
    assert some.quality is not None
    assert some.quality.reasons["blurred"] == some.quality.rejected == half
    accepted = pq.read_table(folder / "model_tiles.parquet")
    boxes = np.stack([accepted[name].to_numpy() for name in ("x_l0", "y_l0", "width_l0", "height_l0")], axis=1)
    inside = np.zeros(len(_cells(folder)), bool)
    for x, y, width, height in boxes[accepted["accepted"].to_numpy()]:
        cells = _cells(folder)
        near = 8 * MODEL_MPP / 0.25  # the mask has one value per 8 px
        inside |= (
            (cells[:, 0] > x - near) & (cells[:, 0] < x + width + near)
            & (cells[:, 1] > y - near) & (cells[:, 1] < y + height + near)
        )  # fmt: skip
    assert inside.all()
    assert 0 < len(inside) < plain.cells.tumour


def _sharpness(folder: Path) -> np.ndarray:
    from wsi_pipeline.stain.quality import QualityOptions, pixel_figures  # noqa: PLC0415

    store = MapStore.open(folder / "maps" / "virtual_ihc.ome.zarr")
    tiles = pq.read_table(folder / "model_tiles.parquet")["tile"].to_numpy()
    columns = -(-store.size().width // 256)
    found = []
    for tile in tiles:
        block = np.full((256, 256, 3), 255, np.uint8)
        pixels = store.read_block(Box(tile % columns * 256, tile // columns * 256, 256, 256))
        block[: pixels.shape[0], : pixels.shape[1]] = pixels
        tissue = (block != 255).any(axis=2)
        found.append(pixel_figures(block[None], QualityOptions(), tissue[None]).sharpness[0])
    return np.array(found)


def test_evidence_can_be_chosen(samples: Path, weights: Path, tmp_path: Path) -> None:
    slide = samples / "phantom_3plus.svs"
    both, folder = run(slide, tmp_path / "both", weights, rule__min_tiles=1)
    assert both.evidence == "cells and tiles"
    assert both.tiles is not None
    assert both.agreement != "one evidence only"
    assert both.tiles.weighted_by == "tumour cells"
    table = pq.read_table(folder / "model_tiles.parquet")
    assert table["tumour_cells"].to_numpy().sum() == pytest.approx(both.cells.tumour, rel=0.02)
    probabilities = np.stack([table[f"probability_{name}"].to_numpy() for name in ("0", "1+", "2+", "3+")])
    np.testing.assert_allclose(probabilities.sum(axis=0), 1)
    tiles, folder = run(slide, tmp_path / "tiles", weights, evidence="tiles", rule__min_tiles=1)
    assert tiles.evidence == "tiles"
    assert tiles.tiles is not None
    assert (tiles.score, tiles.tiles.weighted_by, tiles.cells.tumour) == (tiles.tiles.score, "tissue", 0)
    assert not (folder / "maps" / "her2_class.ome.zarr").exists()
    cells, folder = run(slide, tmp_path / "cells", weights, evidence="cells")
    assert (cells.evidence, cells.tiles, cells.networks) == ("cells", None, {})
    assert not (folder / "model_tiles.parquet").exists()
    assert cells.shares == both.shares


def test_networks_that_are_not_there(
    samples: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "shipped_folder", lambda: tmp_path / "nothing")
    he = samples / "phantom_he.svs"
    result, folder = run(he, tmp_path / "none", None)
    assert result.score == "not evaluable"
    assert "there are no weights of a stainer" in result.reason
    assert "wsi-her2 models import" in result.reason
    assert json.loads((folder / "result.json").read_text())["virtual_stain"] is False
    assert run(he, tmp_path / "unwanted", weights, models__stainer="none")[0].score == "not evaluable"
    with pytest.raises(WeightsError, match="no such weights"):
        run(he, tmp_path / "absent", weights, models__stainer="absent")
    with pytest.raises(UsageError, match="classifier"):
        run(he, tmp_path / "swapped", weights, models__stainer="tiles")
    with pytest.raises(WeightsError, match="no weights of a tile classifier"):
        run(samples / "phantom_3plus.svs", tmp_path / "needed", None, evidence="both")
    copied = tmp_path / "copies"
    copied.mkdir()
    for name in ("stainer", "twin"):
        manifest = json.loads((weights / "stainer.json").read_text()) | {"name": name}
        (copied / f"{name}.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="several pspstain-light: stainer, twin"):
        run(he, tmp_path / "several", copied, models__stainer="auto")


def test_the_choice_is_said(samples: Path, weights: Path, tmp_path: Path) -> None:
    said: list[str] = []
    request = ScoreRequest(
        samples / "phantom_3plus.svs", tmp_path / "out", load_settings("serial", {"models.precision": "fp32"}),
        weights_folder=weights,
    )  # fmt: skip
    score_slide(replace(request, say=said.append))
    assert len(said) == 1
    assert said[0].startswith("classifier: tiles (ihcnet-light; ")
    assert "fp32 was asked for" in said[0]


def test_tiles_that_could_not_be_read_are_counted(
    samples: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RescaledSlide.read_boxes
    lost = [2000]

    def read(view: RescaledSlide, boxes: list[Box]) -> list[Pixels]:
        first, *others = plain(view, boxes)
        return [replace(first, unreadable=lost[0]), *others]

    monkeypatch.setattr(RescaledSlide, "read_boxes", read)
    slide = samples / "phantom_3plus.svs"
    result, _ = run(slide, tmp_path / "some", weights, evidence="tiles", rule__min_tiles=1)
    assert 0 < result.provenance["engine"]["unreadable_percent"] < 5
    assert any("of the tissue could not be read" in warning for warning in result.warnings)
    lost[0] = 10**8
    with pytest.raises(CorruptSlideError, match="100 % of its tissue cannot be read"):
        run(slide, tmp_path / "all", weights, evidence="tiles")
    assert not (tmp_path / "all").exists()
