"""Short precisions against fp32, and an accelerator against the processor: the same answers within stated bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from torch import nn  # noqa: E402

from wsi_pipeline.geometry import Box, Size, cut  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.classify import TileRunner  # noqa: E402
from wsi_pipeline.models.fixture_tiles import fixture_tiles  # noqa: E402
from wsi_pipeline.models.load import LoadedModel, load_model  # noqa: E402
from wsi_pipeline.models.machine import processor_has_bf16  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.norm_field import NormField  # noqa: E402
from wsi_pipeline.models.options import Precision  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402
from wsi_pipeline.models.registry import find_weights  # noqa: E402
from wsi_pipeline.models.runtime import Runtime  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402
from wsi_pipeline.models.seamless import SeamlessStainer  # noqa: E402

TILES = np.concatenate([fixture_tiles(seed, 256, 256) for seed in range(2)])

LOGIT_TOLERANCE = 0.15
"""Largest difference of a logit, in standard deviations of a logit over the tiles; 0.05 measured for bf16."""

SAFE_MARGIN = 2 * LOGIT_TOLERANCE
"""First minus second logit in fp32, same unit, beyond which no class may change."""

LEVELS = 2.0
"""Mean absolute difference of a stained picture, grey levels; 0.3 to 0.9 measured for bf16. Half of it for the mean
colour; 0.3 measured, and 5 where the first convolution was in bf16 too."""

FULL_WIDTH = 64
"""Channels of the full generator's first layer."""

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@pytest.fixture(scope="module", params=["ihcnet", "ihcnet-light"])
def classifier(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    randomise: Callable[[nn.Module, int], nn.Module],
) -> LoadedModel:
    """Return a classifier with random weights, its last bias such that the classes of the tiles differ."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    network = randomise(build(request.param), 5)
    card = ModelCard(name="toy", mpp=0.5, licence="CC0-1.0")
    save_weights(network.state_dict(), request.param, card, folder)
    loaded = load_model("toy", folder)
    loaded.network.classifier[-1].bias -= torch.from_numpy(
        TileRunner(loaded, Runtime(), 4).answer(TILES).logits.mean(0)
    )
    return loaded


def check_classes(loaded: LoadedModel, runtime: Runtime, tolerance: float) -> None:
    compare(loaded, TileRunner(loaded, runtime, 4).answer(TILES).logits, tolerance)


def compare(loaded: LoadedModel, short: np.ndarray, tolerance: float) -> None:
    exact = TileRunner(loaded, Runtime(), 4).answer(TILES).logits
    spread = exact.std(axis=0).mean()
    assert len(set(exact.argmax(axis=1))) > 1
    assert np.abs(short - exact).max() <= tolerance * spread
    ordered = np.sort(exact, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > 2 * tolerance * spread
    assert sure.sum() >= 2
    assert (short.argmax(axis=1) == exact.argmax(axis=1))[sure].all()


@pytest.mark.parametrize("classifier", ["ihcnet"], indirect=True)
def test_bf16_keeps_ihcnets_classes(classifier: LoadedModel) -> None:
    check_classes(classifier, Runtime("cpu", "bf16"), LOGIT_TOLERANCE)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 3e-3), ("bf16", LOGIT_TOLERANCE)])
def test_openvino_answers_as_torch(
    classifier: LoadedModel, precision: Precision, tolerance: float, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from wsi_pipeline.models.converted import ConvertedClassifier  # noqa: PLC0415 - needs OpenVINO
    from wsi_pipeline.models.openvino_backend import processor_precisions  # noqa: PLC0415

    if precision not in processor_precisions():
        pytest.skip(f"OpenVINO has no {precision} on this processor")
    architecture = classifier.manifest.architecture
    if precision == "bf16" and architecture == "ihcnet-light":
        pytest.skip("bf16 changes its features by 12 %, so that nobody runs it so")
    card = ModelCard(name="moved", mpp=0.5, licence="CC0-1.0")
    save_weights(classifier.network.state_dict(), architecture, card, tmp_path)
    converted = ConvertedClassifier(find_weights("moved", tmp_path), Runtime("cpu", precision, "openvino"), 4)
    compare(classifier, converted.answer(TILES).logits, tolerance)


@CUDA
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 5e-3), ("auto", LOGIT_TOLERANCE)])
def test_cuda_answers_as_the_processor(classifier: LoadedModel, precision: str, tolerance: float) -> None:
    light = classifier.manifest.architecture == "ihcnet-light"
    chosen = ("fp16" if light else "bf16") if precision == "auto" else precision
    check_classes(classifier, Runtime("cuda:0", chosen), tolerance)  # type: ignore[arg-type]


def picture() -> np.ndarray:
    """Return an H&E-like picture, (280, 372, 3) uint8."""
    random = np.random.default_rng(6)
    coarse = np.kron(random.uniform(90, 235, (18, 24, 3)), np.ones((16, 16, 1)))[:280, :372]
    return np.clip(coarse + random.normal(0, 9, coarse.shape), 0, 255).astype(np.uint8)


PICTURE = picture()
SIZE = Size(372, 280)


def read(box: Box) -> np.ndarray:
    out = np.full((box.height, box.width, 3), 255, np.uint8)
    inside = box.intersection(Box(0, 0, *SIZE))
    source = PICTURE[inside.y : inside.bottom, inside.x : inside.right]
    out[inside.y - box.y : inside.bottom - box.y, inside.x - box.x : inside.right - box.x] = source
    return out


def generator(width: int, seed: int) -> Generator:
    """Return a generator with random weights whose picture is not saturated; the light one as it is used."""
    torch.manual_seed(seed)
    made = Generator(width, "folded" if width == LIGHT_WIDTH else "instance").eval().requires_grad_(requires_grad=False)
    if width == LIGHT_WIDTH:
        made.model[-2].weight *= 0.05
    return made


@pytest.fixture(
    scope="module", params=[(LIGHT_WIDTH, None), (FULL_WIDTH, None), (24, 200)], ids=["light", "slide", "grid"]
)
def exact(request: pytest.FixtureRequest) -> tuple[int, NormField | None, np.ndarray]:
    """Return width, statistics, and the picture that fp32 on the processor gives."""
    width, spacing = request.param
    stainer = SeamlessStainer(generator(width, 8))
    field = stainer.calibrate(read, SIZE, lambda _box: True, spacing, 1) if stainer.needs_calibration else None
    return width, field, stainer.stain(read, Box(0, 0, *SIZE), field)


def stained(exact: tuple[int, NormField | None, np.ndarray], runtime: Runtime) -> SeamlessStainer:
    return SeamlessStainer(generator(exact[0], 8), runtime)


def check_picture(exact: tuple[int, NormField | None, np.ndarray], runtime: Runtime, levels: float) -> None:
    assert exact[2].std() > 20
    short = stained(exact, runtime).stain(read, Box(0, 0, *SIZE), exact[1]).astype(int)
    difference = short - exact[2]
    assert np.abs(difference).mean() <= levels
    assert np.abs(difference.mean(axis=(0, 1))).max() <= levels / 2


def check_seams(exact: tuple[int, NormField | None, np.ndarray], runtime: Runtime) -> None:
    """Two ways of cutting give one picture, to a grey level."""
    stainer = stained(exact, runtime)
    whole = stainer.stain(read, Box(0, 0, *SIZE), exact[1]).astype(int)
    for side, (x, y) in ((190, (0, 0)), (233, (71, 38))):
        for part in cut(Size(SIZE.width + side, SIZE.height + side), side):
            box = Box(part.x - x, part.y - y, side, side).intersection(Box(0, 0, *SIZE))
            if box.area:
                piece = whole[box.y : box.bottom, box.x : box.right]
                assert np.abs(stainer.stain(read, box, exact[1]) - piece).max() <= 1


def test_bf16_keeps_the_picture(exact: tuple[int, NormField | None, np.ndarray]) -> None:
    check_picture(exact, Runtime("cpu", "bf16"), LEVELS)


def test_bf16_leaves_no_seams(exact: tuple[int, NormField | None, np.ndarray]) -> None:
    if exact[0] == FULL_WIDTH and not processor_has_bf16():
        pytest.skip("a processor without bf16 imitates it, and takes minutes for the full generator")
    check_seams(exact, Runtime("cpu", "bf16"))


@CUDA
@pytest.mark.parametrize(("precision", "levels"), [("fp32", 0.1), ("bf16", LEVELS)])
def test_cuda_stains_as_the_processor(
    exact: tuple[int, NormField | None, np.ndarray], precision: str, levels: float
) -> None:
    check_picture(exact, Runtime("cuda:0", precision), levels)  # type: ignore[arg-type]


@CUDA
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_leaves_no_seams(exact: tuple[int, NormField | None, np.ndarray], precision: str) -> None:
    check_seams(exact, Runtime("cuda:0", precision))  # type: ignore[arg-type]
