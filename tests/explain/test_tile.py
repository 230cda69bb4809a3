"""The tile that holds a point, what is said of it, and its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the explain extra: pip install '.[explain]'")
pytest.importorskip("captum", reason="needs the explain extra: pip install '.[explain]'")

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.explain.cam import MarginMaps  # noqa: E402
from wsi_pipeline.explain.picture import GAP_PX, PANEL_PX, explanation_picture  # noqa: E402
from wsi_pipeline.explain.pseudocolour import diverging  # noqa: E402
from wsi_pipeline.explain.tile import CamChoice, Explanation, explain_tile, tile_at, tile_numbered  # noqa: E402
from wsi_pipeline.geometry import Box, Mpp, Size  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.load import LoadedModel  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.preprocess import network_input  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402
from wsi_pipeline.tiling import Grid, TilingOptions, make_grid_at  # noqa: E402

SIZE = Size(2711, 1903)


def grid() -> Grid:
    """Return tiles of 256 px at 0.46 um/px on a slide whose px are not square: 3.0 columns and 1.9 rows."""
    return make_grid_at(SIZE, Mpp(0.131, 0.119), 0.46, TilingOptions())


@given(st.floats(0, SIZE.width - 0.5), st.floats(0, SIZE.height - 0.5))
def test_tile_holds_the_point_and_lies_on_the_grid(x_l0: float, y_l0: float) -> None:
    x_l0, y_l0 = round(x_l0, 2), round(y_l0, 2)
    cut = grid()
    box = tile_at(cut, f"{x_l0}, {y_l0}")
    assert box.size == (256, 256)
    assert box.x % 256 == box.y % 256 == 0
    for start, place, ratio in ((box.x, x_l0, cut.ratio[0]), (box.y, y_l0, cut.ratio[1])):
        assert start * ratio <= place * (1 + 1e-12) < (start + 256) * ratio * (1 + 1e-12)
    assert tile_numbered(cut, cut.tile_number(box)) == box


def test_places_that_are_none() -> None:
    cut = grid()
    columns, rows = cut.tile_columns(), -(-cut.size_an.height // 256)
    assert tile_numbered(cut, columns * rows - 1) == Box((columns - 1) * 256, (rows - 1) * 256, 256, 256)
    with pytest.raises(
        UsageError, match=rf"{columns * rows} is not one of the slide's tiles 0 to {columns * rows - 1}"
    ):
        tile_numbered(cut, columns * rows)
    with pytest.raises(UsageError, match="-1 is not one"):
        tile_numbered(cut, -1)
    with pytest.raises(UsageError, match="outside the slide of 2711 x 1903 px"):
        tile_at(cut, "2711,4")
    for text in ("12", "-3,4", "3;4", "3,4,5", "nan,3"):
        with pytest.raises(UsageError, match=r"is not X,Y"):
            tile_at(cut, text)


@pytest.fixture
def loaded(classifier, tmp_path: Path) -> LoadedModel:
    network = classifier("ihcnet-light")
    manifest = save_weights(
        network.state_dict(), "ihcnet-light", ModelCard(name="light", mpp=0.46, licence="CC0-1.0"), tmp_path
    )
    return LoadedModel(manifest, network)


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (256, 256, 3)).astype(np.uint8)


def test_explanation_is_what_the_parts_say(loaded: LoadedModel, rgb: np.ndarray) -> None:
    found = explain_tile(loaded, rgb, CamChoice())
    network = loaded.network
    with torch.inference_mode():
        features = network.feature_map(network_input(torch.from_numpy(rgb)[None], loaded.manifest))
        logits = network.logits(features)[0].numpy()
        white = torch.full((1, 256, 256, 3), 255, dtype=torch.uint8)
        glass = network.feature_map(network_input(white, loaded.manifest)).mean(dim=(2, 3))
        glass_margins = torch.diff(network.classifier(glass))[0].numpy()
    maps = MarginMaps(network, glass[0])
    assert found.margins == pytest.approx(logits[1:] - logits[:-1], abs=1e-5)
    assert found.probabilities == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=1e-6)
    assert found.margin == max(int(logits.argmax()) - 1, 0)
    assert np.array_equal(found.coarse, maps(features)[0, found.margin])
    assert found.coarse.mean() == pytest.approx(found.margins[found.margin], abs=1e-3)
    assert found.glass_margin == pytest.approx(glass_margins[found.margin], abs=1e-4)
    assert (found.coarse.shape, found.coarse_stride, found.fine.shape, found.fine_stride) == ((7, 7), 32, (14, 14), 16)
    other = explain_tile(loaded, rgb, CamChoice(2, "stage3", "gradcam"))
    assert (other.margin, other.layer, other.method, other.fine.shape) == (2, "stage3", "gradcam", (28, 28))
    assert np.array_equal(other.coarse, maps(features)[0, 2])


def test_a_stainer_explains_nothing(loaded: LoadedModel, rgb: np.ndarray) -> None:
    with pytest.raises(UsageError, match="not a tile classifier"):
        explain_tile(LoadedModel(loaded.manifest, build("pspstain-light")), rgb, CamChoice())


def test_picture_shows_both_maps_on_the_same_scale(rgb: np.ndarray) -> None:
    coarse = np.linspace(-6, 6, 49, dtype=np.float32).reshape(7, 7)
    fine = np.linspace(3, -1, 196, dtype=np.float32).reshape(14, 14)
    found = Explanation(
        rgb, np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, -1.5, 2.5]), 1.85, 1, coarse, -0.7, 32, fine, 16, "stage5",
        "hirescam",
    )  # fmt: skip
    picture = explanation_picture(found, 4.0, ("slide", "network"), 0.46)
    assert picture.shape[1] == 3 * PANEL_PX + 4 * GAP_PX
    frames = np.flatnonzero((picture[:, GAP_PX + 5] == (30, 30, 30)).all(axis=1))
    top = next(int(row) + 1 for row in frames if int(row) + PANEL_PX + 1 in frames)
    panels = [
        picture[top : top + PANEL_PX, left : left + PANEL_PX]
        for left in (GAP_PX + number * (PANEL_PX + GAP_PX) for number in range(3))
    ]
    for panel, values in zip(panels[1:], (coarse, fine), strict=True):
        side = PANEL_PX // len(values)
        assert np.array_equal(panel[side // 2 :: side, side // 2 :: side], diverging(values, 4.0))
    assert np.array_equal(panels[0][:: PANEL_PX - 1, :: PANEL_PX - 1], rgb[[0, -1]][:, [0, -1]])
    narrower = explanation_picture(found, 2.0, ("slide", "network"), 0.46)
    assert (narrower[top : top + PANEL_PX, -PANEL_PX:] != picture[top : top + PANEL_PX, -PANEL_PX:]).any()
