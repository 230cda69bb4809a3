"""Maps of all tiles from the head's gradient alone are those of full autograd, in logits, wherever they are made."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install 'wsi-her2[models]'")

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.explain.cam import margin_cams  # noqa: E402

NETWORKS = [("ihcnet", False), ("ihcnet", True), ("ihcnet-light", False)]


def tiles(seed: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize(("architecture", "features_relu"), NETWORKS)
def test_equals_grad_cam_and_hirescam_by_full_autograd(classifier, architecture: str, features_relu: bool) -> None:
    network = classifier(architecture, features_relu=features_relu)
    x = tiles(1).requires_grad_()
    features = network.feature_map(x)
    logits = network.logits(features)
    grad_cam, hirescam = [], []
    for margin in range(3):
        wanted = (logits[:, margin + 1] - logits[:, margin]).sum()
        (gradient,) = torch.autograd.grad(wanted, features, retain_graph=True)
        positions = features.shape[2] * features.shape[3]
        grad_cam.append((gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1) * positions)
        hirescam.append((gradient * features).sum(dim=1) * positions)
    found = margin_cams(network, features)
    assert found.shape == (3, 3, 2, 3)
    assert found.dtype == np.float32
    for wanted in (grad_cam, hirescam):
        assert relative(found, torch.stack(wanted, dim=1).detach().numpy()) < 1e-5


@pytest.mark.parametrize(("architecture", "features_relu"), NETWORKS[1:])
def test_mean_over_the_positions_is_the_margins_dependence_on_the_pooled_features(
    classifier, architecture: str, features_relu: bool
) -> None:
    network = classifier(architecture, features_relu=features_relu)
    features = network.feature_map(tiles(2))
    means = margin_cams(network, features).mean(axis=(2, 3))
    network.double()
    step = 1e-5
    more, less = (network.logits(features.double() * (1 + sign * step)) for sign in (1, -1))
    slope = (torch.diff(more) - torch.diff(less)) / (2 * step)
    assert np.allclose(means, slope.numpy(), rtol=1e-4, atol=1e-4)
    assert slope.abs().min() > 1e-3


def test_signs_and_sizes_are_kept(classifier) -> None:
    network = classifier("ihcnet-light")
    features = network.feature_map(tiles(3))
    found = margin_cams(network, features)
    assert found.min() < 0 < found.max()
    spread = found.reshape(3, 3, -1).max(axis=2)
    assert len(np.unique(spread)) == 9  # stretched maps would all end at the same value


def test_a_tile_does_not_depend_on_its_batch(classifier) -> None:
    network = classifier("ihcnet-light")
    features = network.feature_map(tiles(4))
    alone = np.concatenate([margin_cams(network, features[number : number + 1]) for number in range(3)])
    assert relative(margin_cams(network, features), alone) < 1e-5


def test_works_inside_and_after_inference_mode(classifier) -> None:
    wanted = None
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            network = classifier("ihcnet-light")  # parameters are inference tensors, too
            features = network.feature_map(tiles(5))
            inside = margin_cams(network, features)
        after = margin_cams(network, features)
        assert features.is_inference() == (mode is torch.inference_mode)
        assert np.array_equal(inside, after)
        wanted = inside if wanted is None else wanted
        assert np.array_equal(inside, wanted)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_gradient_is_float32_for_half_networks_and_under_autocast(classifier) -> None:
    network = classifier("ihcnet-light")
    features = network.feature_map(tiles(6)).bfloat16()
    wanted = margin_cams(network, features.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(margin_cams(network, features), wanted)
    network.bfloat16()
    found = margin_cams(network, features)
    assert 0 < relative(found, wanted) < 0.1  # only the weights were rounded


def test_no_tiles_give_no_maps(classifier) -> None:
    assert margin_cams(classifier("ihcnet-light"), torch.zeros(0, 1280, 2, 3)).shape == (0, 3, 2, 3)


def test_refuses_training_mode_and_pooled_features(classifier) -> None:
    network = classifier("ihcnet-light")
    with pytest.raises(UsageError, match=r"features \(2, 1280\) are not"):
        margin_cams(network, torch.zeros(2, 1280))
    with pytest.raises(UsageError, match="training mode"):
        margin_cams(network.train(), torch.zeros(2, 1280, 2, 2))
