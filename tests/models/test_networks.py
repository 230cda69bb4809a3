"""The four networks against their exact specifications: keys, shapes, counts, sizes, ranges."""

from __future__ import annotations

import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)

from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from wsi_pipeline.errors import UsageError, WeightsError  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.ihcnet import IHCNet  # noqa: E402
from wsi_pipeline.models.light_ihcnet import LightIHCNet, lite_trunk, trunk_from_published  # noqa: E402
from wsi_pipeline.models.manifest import ARCHITECTURES, Architecture  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, BlurDown, BlurUp, Generator  # noqa: E402


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def macs(architecture: Architecture, side: int) -> float:
    """Return the multiply-adds for one image of `side` px."""
    with torch.device("meta"):
        network = build(architecture).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, side, side))
    return counter.get_total_flops() / 2


def densenet201_keys() -> dict[str, tuple[int, ...]]:
    """Return keys and shapes of DenseNet201's trunk from its published plan (Huang et al. 2017)."""
    found: dict[str, tuple[int, ...]] = {"conv0.weight": (64, 3, 7, 7)}

    def norm(name: str, channels: int) -> None:
        found.update({f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")})
        found[f"{name}.num_batches_tracked"] = ()

    norm("norm0", 64)
    channels = 64
    for block, layers in enumerate((6, 12, 48, 32), start=1):
        for layer in range(1, layers + 1):
            stem = f"denseblock{block}.denselayer{layer}"
            norm(f"{stem}.norm1", channels)
            found[f"{stem}.conv1.weight"] = (128, channels, 1, 1)
            norm(f"{stem}.norm2", 128)
            found[f"{stem}.conv2.weight"] = (32, 128, 3, 3)
            channels += 32
        if block < 4:
            norm(f"transition{block}.norm", channels)
            found[f"transition{block}.conv.weight"] = (channels // 2, channels, 1, 1)
            channels //= 2
    norm("norm5", channels)
    return found


def head_keys(channels: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for index, outputs, inputs in ((0, 512, channels), (4, 256, 512), (8, 4, 256)):
        found |= {f"classifier.{index}.weight": (outputs, inputs), f"classifier.{index}.bias": (outputs,)}
    for index, width in ((1, 512), (5, 256)):
        found |= {f"classifier.{index}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")}
        found[f"classifier.{index}.num_batches_tracked"] = ()
    return found


def test_ihcnet_holds_exactly_the_specified_tensors() -> None:
    with torch.device("meta"):
        network = IHCNet()
    expected = {f"backbone.{key}": shape for key, shape in densenet201_keys().items()} | head_keys(1920)
    assert shapes(network) == expected
    assert len(expected) == 1221
    assert parameters(network) == 19_210_372


def test_light_ihcnet_has_the_same_head_and_few_parameters() -> None:
    with torch.device("meta"):
        network = LightIHCNet()
    head = {key: shape for key, shape in shapes(network).items() if key.startswith("classifier.")}
    assert head == head_keys(1280)
    assert parameters(network) == 4_160_772


def generator_keys(width: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of the generator's convolutions and blurs, `weight` standing for whatever wraps it."""
    found: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (outputs, inputs, kernel, kernel), (outputs,)

    convolution("model.1", width, 3, 7)
    convolution("model.4", 2 * width, width, 3)
    convolution("model.8", 4 * width, 2 * width, 3)
    for block in range(12, 18):
        convolution(f"model.{block}.conv_block.1", 4 * width, 4 * width, 3)
        convolution(f"model.{block}.conv_block.5", 4 * width, 4 * width, 3)
    convolution("model.19", 2 * width, 4 * width, 3)
    convolution("model.23", width, 2 * width, 3)
    convolution("model.27", 3, width, 7)
    found |= {"model.7.filt": (2 * width, 1, 3, 3), "model.11.filt": (4 * width, 1, 3, 3)}
    return found | {"model.18.filt": (4 * width, 1, 4, 4), "model.22.filt": (2 * width, 1, 4, 4)}


def test_spectral_generator_holds_exactly_the_specified_tensors(spectral_generator: nn.Module) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for key, shape in generator_keys(64).items():
        if not key.endswith(".weight"):
            expected[key] = shape
            continue
        expected |= {f"{key}_orig": shape, f"{key}_u": shape[:1], f"{key}_v": (shape[1] * shape[2] * shape[3],)}
    assert shapes(spectral_generator) == expected
    assert len(expected) == 76
    assert parameters(spectral_generator) == 7_837_699


@pytest.mark.parametrize(("architecture", "width"), [("pspstain", 64), ("pspstain-light", 16)])
def test_plain_generators_hold_only_convolutions_and_filters(architecture: Architecture, width: int) -> None:
    assert shapes(build(architecture)) == generator_keys(width)


def test_light_generator_needs_a_tenth_of_the_operations() -> None:
    full, light = macs("pspstain", 256), macs("pspstain-light", 256)
    assert full == pytest.approx(49.63e9, rel=1e-3)
    assert full / light > 14


def test_light_ihcnet_needs_a_tenth_of_the_operations() -> None:
    full, light = macs("ihcnet", 224), macs("ihcnet-light", 224)
    assert full == pytest.approx(4.29e9, rel=1e-2)  # 8.6 GFLOP
    assert full / light > 10


@pytest.mark.parametrize("architecture", ["ihcnet", "ihcnet-light"])
def test_classifiers_give_logits_and_the_map_they_come_from(architecture: Architecture) -> None:
    torch.manual_seed(3)
    network = build(architecture).eval()
    tiles = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        features = network.feature_map(tiles)
        assert features.shape[2:] == (2, 3)
        assert torch.equal(network(tiles), network.logits(features))
    assert network(tiles).shape == (2, 4)


def test_features_relu_stands_between_the_last_norm_and_the_pooling() -> None:
    torch.manual_seed(4)
    plain = IHCNet().eval()
    keras = IHCNet(features_relu=True).eval()
    keras.load_state_dict(plain.state_dict())
    tiles = torch.rand(1, 3, 32, 64)
    with torch.inference_mode():
        features = plain.feature_map(tiles)
        assert features.min() < 0
        assert torch.equal(keras.feature_map(tiles), features.clamp(min=0))
        assert not torch.equal(keras(tiles), plain(tiles))


@pytest.mark.parametrize("network", [Generator(), Generator(LIGHT_WIDTH, "batch"), Generator(LIGHT_WIDTH, "folded")])
def test_generators_keep_size_and_range(network: nn.Module) -> None:
    image = torch.rand(2, 3, 28, 44) * 2 - 1
    with torch.inference_mode():
        stained = network.eval()(image)
    assert stained.shape == image.shape
    assert -1 <= stained.min() < stained.max() <= 1


@pytest.mark.parametrize(("height", "width"), [(30, 40), (40, 30), (4, 40)])
def test_generator_refuses_other_sides(height: int, width: int) -> None:
    with pytest.raises(UsageError, match=f"{width} x {height} px"):
        Generator(LIGHT_WIDTH, "folded")(torch.zeros(1, 3, height, width))


def test_generator_layers_stand_at_the_published_numbers() -> None:
    kinds = [type(layer).__name__ for layer in Generator().model]
    down = ["Conv2d", "InstanceNorm2d", "ReLU", "BlurDown"]
    up = ["BlurUp", "Conv2d", "InstanceNorm2d", "ReLU"]
    first = ["ReflectionPad2d", "Conv2d", "InstanceNorm2d", "ReLU"]
    assert kinds == [*first, *down, *down, *["ResidualBlock"] * 6, *up, *up, "ReflectionPad2d", "Conv2d", "Tanh"]
    assert [layer.padding for layer in Generator().model if isinstance(layer, nn.Conv2d)] == [
        (0, 0), (1, 1), (1, 1), (1, 1), (1, 1), (0, 0),
    ]  # fmt: skip


def test_blurs_are_the_binomial_filters() -> None:
    down, up = BlurDown(2).filt, BlurUp(2).filt
    assert torch.equal(down[1, 0] * 16, torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]))
    assert torch.equal(up[1, 0] * 16, torch.tensor([[1.0, 3, 3, 1], [3, 9, 9, 3], [3, 9, 9, 3], [1, 3, 3, 1]]))


def test_blurs_keep_a_ramp_a_ramp_and_never_swap_axes() -> None:
    ramp = torch.arange(10.0)[None, None, None, :] + 100 * torch.arange(6.0)[None, None, :, None]
    down = BlurDown(1)(ramp)[0, 0]
    assert down.shape == (3, 5)
    assert torch.allclose(down[1:, 1:], ramp[0, 0, 2::2, 2::2])
    up = BlurUp(1)(ramp)[0, 0]
    assert up.shape == (12, 20)
    assert torch.allclose(up[3:9, 4:8].diff(dim=1), torch.full((6, 3), 0.5), atol=1e-3)
    assert torch.allclose(up[3:9, 4:8].diff(dim=0), torch.full((5, 4), 50.0), atol=1e-3)


def test_published_lite0_weights_fit_by_order() -> None:
    own = lite_trunk().state_dict()
    published = {f"_published.{number}": tensor + 1 for number, tensor in enumerate(own.values())}
    published |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    renamed = trunk_from_published(published)
    assert list(renamed) == list(own)
    assert all(torch.equal(renamed[key], own[key] + 1) for key in own)
    published["_published.0"] = torch.zeros(32, 3, 5, 5)
    with pytest.raises(WeightsError, match=r"'_published.0' has shape \(32, 3, 5, 5\) instead of \(32, 3, 3, 3\)"):
        trunk_from_published(published)
    del published["_published.0"]
    with pytest.raises(WeightsError, match="hold 293 entries instead of 294"):
        trunk_from_published(published)


def test_every_architecture_can_be_built() -> None:
    with torch.device("meta"):
        assert len({parameters(build(architecture)) for architecture in ARCHITECTURES}) == len(ARCHITECTURES)
