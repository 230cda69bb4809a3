"""Tiles to logits and features: every tile its own answer, however they are batched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)

from torch import nn  # noqa: E402

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.classify import TileRunner  # noqa: E402
from wsi_pipeline.models.fixture_tiles import fixture_tiles  # noqa: E402
from wsi_pipeline.models.load import LoadedModel, load_model  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.prepared import prepared_trunk  # noqa: E402
from wsi_pipeline.models.preprocess import network_input  # noqa: E402
from wsi_pipeline.models.runtime import Runtime  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402

TILES = np.concatenate([fixture_tiles(seed, 256, 256) for seed in (1, 2, 3)])[:7]
"""Seven tiles: no multiple of any batch."""

BATCHING = 1e-6
"""Largest difference of a logit that the batch a tile is in may make; none was ever seen on processors."""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, randomise: Callable[[nn.Module, int], nn.Module]) -> LoadedModel:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    network = randomise(build("ihcnet-light"), 3)
    save_weights(network.state_dict(), "ihcnet-light", ModelCard(name="toy", mpp=0.5, licence="CC0-1.0"), folder)
    return load_model("toy", folder)


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def runner(request: pytest.FixtureRequest, light: LoadedModel) -> TileRunner:
    return TileRunner(light, Runtime("cpu", request.param), 3)


def test_the_answers_are_those_of_the_plain_network(light: LoadedModel) -> None:
    with torch.inference_mode():
        inputs = network_input(torch.from_numpy(TILES), light.manifest)
        features = light.network.feature_map(inputs)
        logits = light.network.logits(features)
    answers = TileRunner(light, Runtime(), 4).answer(TILES)
    assert answers.logits.dtype == np.float32
    np.testing.assert_allclose(answers.logits, logits.numpy(), atol=2e-5)
    torch.testing.assert_close(answers.features, features, atol=2e-3, rtol=1e-3)


def test_a_tiles_answer_does_not_depend_on_its_batch(runner: TileRunner) -> None:
    together = runner.answer(TILES)
    assert together.logits.shape == (7, 4)
    assert together.features.shape == (7, 1280, 7, 7)
    assert np.ptp(together.logits, axis=0).min() > 100 * BATCHING
    np.testing.assert_allclose(runner.answer(TILES[::-1]).logits[::-1], together.logits, atol=BATCHING)
    for first, last in ((0, 1), (2, 4), (1, 6)):
        part = runner.answer(TILES[first:last])
        np.testing.assert_allclose(part.logits, together.logits[first:last], atol=BATCHING)
        torch.testing.assert_close(part.features, together.features[first:last], atol=1e-4, rtol=1e-4)


def test_logits_and_features_agree_to_the_bit(runner: TileRunner) -> None:
    answers = runner.answer(TILES[:3])
    with torch.inference_mode():
        again = runner.network.logits(answers.features)
    np.testing.assert_allclose(answers.logits, again.numpy(), atol=BATCHING)
    assert answers.features.dtype == torch.float32


def test_no_tiles_give_no_answers(runner: TileRunner) -> None:
    answers = runner.answer(TILES[:0])
    assert answers.logits.shape == (0, 4)
    assert answers.features.shape == (0, 1280, 7, 7)


def test_later_answers_leave_earlier_ones_alone(runner: TileRunner) -> None:
    first = runner.answer(TILES[:2])
    kept = first.logits.copy(), first.features.clone()
    runner.answer(TILES[2:])
    np.testing.assert_array_equal(first.logits, kept[0])
    assert torch.equal(first.features, kept[1])


def test_tiles_of_another_size_are_refused(runner: TileRunner) -> None:
    with pytest.raises(UsageError, match=r"128 x 256 px; toy takes 256 x 256"):
        runner.answer(np.zeros((2, 256, 128, 3), np.uint8))


@pytest.mark.parametrize("architecture", ["ihcnet", "ihcnet-light"])
def test_folding_leaves_the_features_as_they_are(
    architecture: str, randomise: Callable[[nn.Module, int], nn.Module]
) -> None:
    torch.manual_seed(4)
    trunk = randomise(build(architecture), 4).requires_grad_(requires_grad=False).backbone  # type: ignore[arg-type]
    folded = prepared_trunk(trunk, Runtime())
    norms = [sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules()) for network in (trunk, folded)]
    assert norms[1] <= norms[0] / 2 + 3
    image = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        plain = trunk(image)
        assert float((folded(image) - plain).abs().max()) < 1e-3 * float(plain.abs().max())
