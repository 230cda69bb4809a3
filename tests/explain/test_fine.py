"""Finer maps are gradient x activation at the layer they name, in the units of the coarse ones."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the explain extra: pip install '.[explain]'")
pytest.importorskip("captum", reason="needs the explain extra: pip install '.[explain]'")

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.explain.fine import default_layer, fine_cam, layers_of  # noqa: E402

HEIGHT, WIDTH = 64, 96


def tile(seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def by_autograd(network, layer: str, margin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return activation and gradient (C, h, w) at a layer, found with a hook of our own."""
    kept = []
    module = network.backbone.get_submodule(layers_of(network)[layer].module)

    def keep(_module, _inputs, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()  # what follows may write in place

    handle = module.register_forward_hook(keep)
    logits = network(tile().requires_grad_())
    handle.remove()
    (gradient,) = torch.autograd.grad((logits[:, margin + 1] - logits[:, margin]).sum(), kept[0])
    return kept[0][0].detach(), gradient[0]


@pytest.mark.parametrize(
    ("architecture", "layer", "margin"),
    [("ihcnet", "denseblock3", 0), ("ihcnet-light", "stage5", 2), ("ihcnet-light", "stage3", 1)],
)
def test_is_what_plain_autograd_gives(classifier, architecture: str, layer: str, margin: int) -> None:
    network = classifier(architecture)
    activation, gradient = by_autograd(network, layer, margin)
    positions = activation[0].numel()
    wanted = {
        "hirescam": (gradient * activation).sum(dim=0) * positions,
        "gradcam": (gradient.mean(dim=(1, 2), keepdim=True) * activation).sum(dim=0) * positions,
    }
    for method, cam in wanted.items():
        found = fine_cam(network, tile(), layer, margin, method)
        assert found.dtype == np.float32
        assert np.abs(found - cam.numpy()).max() < 1e-5 * cam.abs().max()
        assert found.min() < 0 < found.max()
    assert (wanted["hirescam"] - wanted["gradcam"]).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ["ihcnet", "ihcnet-light"])
def test_strides_are_those_stated(classifier, architecture: str) -> None:
    network = classifier(architecture)
    assert [layer.stride for layer in layers_of(network).values()] == [8, 16, 32]
    assert layers_of(network)[default_layer(network)].stride == 16
    for name, layer in layers_of(network).items():
        assert fine_cam(network, tile(), name, 1).shape == (HEIGHT // layer.stride, WIDTH // layer.stride)


def test_mean_over_the_positions_is_the_margins_dependence_on_the_layer(classifier) -> None:
    network = classifier("ihcnet-light")
    found = fine_cam(network, tile(), "stage5", 1).mean()
    network.double()
    module = network.backbone.get_submodule(layers_of(network)["stage5"].module)
    margins = []
    for factor in (1 + 1e-6, 1 - 1e-6):
        handle = module.register_forward_hook(lambda _module, _inputs, output, by=factor: output * by)
        logits = network(tile().double())[0]
        handle.remove()
        margins.append(float(logits[2] - logits[1]))
    slope = (margins[0] - margins[1]) / 2e-6
    assert abs(slope) > 1e-2
    assert found == pytest.approx(slope, rel=1e-3)


def test_frozen_networks_and_inference_tensors_will_do(classifier) -> None:
    network = classifier("ihcnet-light")
    wanted = fine_cam(network, tile(), "stage5", 0)
    with torch.inference_mode():
        assert np.array_equal(fine_cam(network, tile(), "stage5", 0), wanted)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_refusals_say_what_there_is(classifier) -> None:
    network = classifier("ihcnet-light")
    with pytest.raises(UsageError, match=r"'denseblock3' is no layer to show .choose one of stage3, stage5, stage7"):
        fine_cam(network, tile(), "denseblock3", 0)
    with pytest.raises(UsageError, match="3 is not one of 0 to 2"):
        fine_cam(network, tile(), "stage5", 3)
    with pytest.raises(UsageError, match="takes one tile"):
        fine_cam(network, tile().repeat(2, 1, 1, 1), "stage5", 0)
    with pytest.raises(UsageError, match="takes one tile and a network in eval"):
        fine_cam(network.train(), tile(), "stage5", 0)
