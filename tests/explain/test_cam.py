"""Maps of all tiles add up to the margin, and are those of integrated gradients by full autograd."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.errors import UsageError  # noqa: E402
from wsi_pipeline.explain.cam import MarginMaps  # noqa: E402

NETWORKS = [("ihcnet", False), ("ihcnet", True), ("ihcnet-light", False)]
SUM_ERROR = 1e-3
"""Logits."""


def tiles(seed: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def glass_of(network) -> torch.Tensor:
    """Return the pooled features of a tile as bright as white is after normalisation."""
    with torch.inference_mode():
        return network.feature_map(torch.full((1, 3, 64, 96), 2.4)).mean(dim=(2, 3))[0]


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def by_autograd(network, features: torch.Tensor, glass: torch.Tensor) -> np.ndarray:
    """Return the maps by torch's own gradients of the logits, at 400 midpoints of the way, in float64."""
    network.double()
    p0, wide = glass.double(), features.double()
    found = []
    for margin in range(3):
        total = torch.zeros_like(wide[:, :, 0, 0])
        for place in (np.arange(400) + 0.5) / 400:
            way = (p0 + place * (wide.mean(dim=(2, 3)) - p0)).requires_grad_()
            logits = network.logits(way[:, :, None, None])
            total += torch.autograd.grad((logits[:, margin + 1] - logits[:, margin]).sum(), way)[0] / 400
        start = torch.diff(network.logits(p0[None, :, None, None]))[0, margin]
        found.append(start + torch.einsum("bc,bchw->bhw", total, wide - p0[:, None, None]))
    return torch.stack(found, dim=1).numpy()


@pytest.mark.parametrize(("architecture", "features_relu"), NETWORKS)
def test_the_mean_is_the_margin_and_places_are_those_of_autograd(
    classifier, architecture: str, features_relu: bool
) -> None:
    network = classifier(architecture, features_relu=features_relu)
    glass = glass_of(network).clone()
    features = network.feature_map(tiles(1))
    found = MarginMaps(network, glass)(features)
    assert found.shape == (3, 3, 2, 3)
    assert found.dtype == np.float32
    margins = torch.diff(network.logits(features)).numpy()
    assert np.abs(margins).max() > 0.5
    assert np.abs(found.mean(axis=(2, 3)) - margins).max() < SUM_ERROR
    assert relative(found, by_autograd(network, features, glass)) < 1e-4


def test_a_place_that_looks_like_glass_has_the_margin_of_glass(classifier) -> None:
    network = classifier("ihcnet-light")
    glass = glass_of(network)
    maps = MarginMaps(network, glass)
    features = network.feature_map(tiles(2)).clone()
    features[:, :, 1, 2] = glass
    found = maps(features)
    assert np.allclose(found[:, :, 1, 2], maps.glass_margins, atol=1e-4)
    assert np.abs(found[:, :, 0, 0] - maps.glass_margins).min() > 1e-3
    with torch.inference_mode():
        wanted = torch.diff(network.logits(glass[None, :, None, None]))[0].numpy()
    assert maps.glass_margins == pytest.approx(wanted, abs=1e-4)


def test_signs_and_sizes_are_kept(classifier) -> None:
    network = classifier("ihcnet-light")
    found = MarginMaps(network, glass_of(network))(network.feature_map(tiles(3)))
    assert found.min() < 0 < found.max()
    spread = found.reshape(3, 3, -1).max(axis=2)
    assert len(np.unique(spread)) == 9  # stretched maps would all end at the same value


def test_a_tile_does_not_depend_on_its_batch(classifier) -> None:
    network = classifier("ihcnet-light")
    features = network.feature_map(tiles(4))
    maps = MarginMaps(network, glass_of(network))
    alone = np.concatenate([maps(features[number : number + 1]) for number in range(3)])
    assert relative(maps(features), alone) < 1e-5


def test_works_inside_and_after_inference_mode(classifier) -> None:
    wanted = None
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            network = classifier("ihcnet-light")  # parameters are inference tensors, too
            features = network.feature_map(tiles(5))
            maps = MarginMaps(network, glass_of(network))
            inside = maps(features)
        assert np.array_equal(inside, maps(features))
        wanted = inside if wanted is None else wanted
        assert np.array_equal(inside, wanted)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_is_float32_for_half_features_and_under_autocast(classifier) -> None:
    network = classifier("ihcnet-light")
    features = network.feature_map(tiles(6)).bfloat16()
    maps = MarginMaps(network, glass_of(network))
    wanted = maps(features.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(maps(features), wanted)


def test_no_tiles_give_no_maps(classifier) -> None:
    network = classifier("ihcnet-light")
    assert MarginMaps(network, glass_of(network))(torch.zeros(0, 1280, 2, 3)).shape == (0, 3, 2, 3)


def test_refuses_training_mode_and_pooled_features(classifier) -> None:
    network = classifier("ihcnet-light")
    glass = glass_of(network)
    with pytest.raises(UsageError, match=r"features \(2, 1280\) are not"):
        MarginMaps(network, glass)(torch.zeros(2, 1280))
    with pytest.raises(UsageError, match="training mode"):
        MarginMaps(network.train(), glass)
