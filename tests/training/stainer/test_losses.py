"""Each part of the objective, against values known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("torchvision", reason="the extra `models` is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from wsi_pipeline.stain.density import StainVectors, unmix  # noqa: E402
from wsi_pipeline.training.stainer.adversarial import PatchDiscriminator, fools, tells_apart  # noqa: E402
from wsi_pipeline.training.stainer.contrast import PatchHeads  # noqa: E402
from wsi_pipeline.training.stainer.focal import LARGEST, FocalDensity  # noqa: E402
from wsi_pipeline.training.stainer.options import (  # noqa: E402
    DiscriminatorOptions,
    FocalOptions,
    MlpaOptions,
    NceOptions,
)
from wsi_pipeline.training.stainer.protein import mlpa_loss  # noqa: E402
from wsi_pipeline.training.stainer.prototypes import Segmenter, ctpc_loss, segmentation_loss  # noqa: E402
from wsi_pipeline.training.stainer.similarity import PYRAMID_WEIGHTS, ms_ssim, pyramid_l1, ssim  # noqa: E402


def stained(hematoxylin: float, dab: float) -> torch.Tensor:
    """Return one pixel (1, 3, 1, 1) in [-1, 1] with these densities, OD."""
    vectors = StainVectors()
    od = sum(
        amount * torch.tensor(vector) / torch.linalg.vector_norm(torch.tensor(vector))
        for amount, vector in ((hematoxylin, vectors.hematoxylin), (dab, vectors.dab))
    )
    return (10**-od * 2 - 1)[None, :, None, None]


def test_focal_density_knows_dab_alone() -> None:
    focal = FocalDensity(FocalOptions())
    assert float(focal(stained(0.2, 0.3))) == pytest.approx(0.68, abs=0.01)
    assert float(focal(stained(0.6, 0.0))) < 1e-3
    levels = [float(focal(stained(0.1, dab))) for dab in (0.0, 0.1, 0.2, 0.4, 0.8)]
    assert levels == sorted(levels)
    assert levels[-1] < LARGEST
    assert bool(focal.tumour_mask(focal(stained(0.2, 0.31))))
    assert not bool(focal.tumour_mask(focal(stained(0.2, 0.29))))


def test_dab_is_that_of_the_rest_of_the_program() -> None:
    rgb = np.random.default_rng(5).integers(40, 250, (7, 11, 3), dtype=np.uint8)
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None] / 127.5 - 1
    found = FocalDensity(FocalOptions()).dab_density(image)[0].numpy()
    wanted = unmix(rgb, (255.0, 255.0, 255.0), StainVectors()).dab.clip(0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_focal_density_has_gradients_even_in_black_and_white() -> None:
    image = torch.tensor([-1.0, 1.0, -0.2]).expand(3, 3).T.reshape(3, 3, 1, 1).clone().requires_grad_()
    FocalDensity(FocalOptions())(image).sum().backward()
    assert bool(torch.isfinite(image.grad).all())


def test_mlpa_asks_how_much_and_where_in_blocks() -> None:
    random = torch.Generator().manual_seed(3)
    real = torch.rand(2, 16, 24, generator=random) * 2
    options = MlpaOptions()
    assert float(mlpa_loss(real, real, 0.15, options)) == 0
    within = real.reshape(2, 4, 4, 4, 6).flip(4).reshape(2, 16, 24)  # moved inside each block
    assert float(mlpa_loss(within, real, 0.15, options)) == pytest.approx(0, abs=1e-9)
    elsewhere = real.roll(12, 2)
    assert float(mlpa_loss(elsewhere, real, 0.15, options)) > 1e-3
    assert float(mlpa_loss(elsewhere, real, 0.15, MlpaOptions(blocks=1))) == pytest.approx(0, abs=1e-9)


def test_mlpa_lets_the_mean_be_within_its_tolerance() -> None:
    real, lower = torch.full((1, 8, 8), 1.0), torch.full((1, 8, 8), 0.5)
    strict, loose = MlpaOptions(tolerance=0.4), MlpaOptions(tolerance=0.6)
    difference = mlpa_loss(lower, real, 0.15, strict) - mlpa_loss(lower, real, 0.15, loose)
    assert float(difference) == pytest.approx(0.25)


def test_mlpa_wants_more_dab_where_it_lacks() -> None:
    virtual = torch.full((1, 8, 8), 0.3, requires_grad=True)
    mlpa_loss(virtual, torch.full((1, 8, 8), 1.4), 0.15, MlpaOptions()).backward()
    assert bool((virtual.grad < 0).all())


def test_pyramid_of_a_constant_difference() -> None:
    real = torch.rand(2, 3, 160, 192)
    assert float(pyramid_l1(real + 0.3, real)) == pytest.approx(0.3 * sum(PYRAMID_WEIGHTS) / 6, rel=1e-4)


def test_pyramid_forgives_small_shifts() -> None:
    real = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    near, other = real.roll(1, 3), torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(2)) * 0.4
    assert float(pyramid_l1(near, real)) < 0.2 * float(pyramid_l1(other, real))
    assert float((near - real).abs().mean()) > 0.9 * float((other - real).abs().mean())


def test_ssim_against_scipy() -> None:
    rng = np.random.default_rng(8)
    first = rng.random((33, 41))
    second = np.clip(first + rng.normal(0, 0.2, first.shape), 0, 1)

    def mean(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, truncate=3.4)[5:-5, 5:-5]

    one, two = mean(first), mean(second)
    of_one, of_two = mean(first * first) - one**2, mean(second * second) - two**2
    both = mean(first * second) - one * two
    wanted = (2 * one * two + 1e-4) * (2 * both + 9e-4) / ((one**2 + two**2 + 1e-4) * (of_one + of_two + 9e-4))
    found = ssim(*(torch.from_numpy(image).float()[None, None] for image in (first, second)))
    assert float(found) == pytest.approx(wanted.mean(), abs=1e-5)


@pytest.mark.parametrize("side", [16, 64, 192])
def test_ms_ssim_is_one_for_equal_images_and_falls_with_noise(side: int) -> None:
    image = functional.avg_pool2d(torch.rand(1, 3, 2 * side, 2 * side + 16), 2)
    noise = torch.randn(image.shape)
    values = [float(ms_ssim((image + share * noise).clamp(0, 1), image)) for share in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)


def test_nce_knows_a_place_again() -> None:
    options = NceOptions(patches=24, features=16)
    torch.manual_seed(2)
    heads = PatchHeads((6,), options)
    key, other = torch.randn(2, 6, 5, 7), torch.randn(2, 6, 5, 7)
    random = torch.Generator()
    same, unlike = (float(heads([query], [key], random.manual_seed(1)).detach()) for query in (key, other))
    assert same < 0.5 * math.log(24)
    assert unlike > math.log(24)
    assert float(heads([key], [key], random.manual_seed(1)).detach()) == same


def test_nce_teaches_the_query_only() -> None:
    heads = PatchHeads((3,), NceOptions(patches=8, features=4))
    query, key = (torch.randn(1, 3, 4, 6, requires_grad=True) for _ in range(2))
    heads([query], [key], torch.Generator().manual_seed(0)).backward()
    assert query.grad is not None
    assert key.grad is None


def test_ctpc_compares_with_the_prototypes_of_the_other_image() -> None:
    mask = torch.zeros(2, 6, 9, dtype=torch.bool)
    mask[0, :, 6:], mask[1, :2] = True, True  # tumour lies elsewhere in the real image
    logits = torch.stack((~mask, mask), 1) * 20.0
    features = torch.stack((~mask, mask), 1).float()
    low = float(ctpc_loss(features, logits, mask, 0.1))
    swapped = features.clone()
    swapped[0] = features[0].flip(0)  # what is tumour in the virtual image looks like the rest of the real one
    assert low == pytest.approx(0, abs=1e-3)
    assert float(ctpc_loss(swapped, logits, mask, 0.1)) > 5


def test_segmenter_learns_what_is_brown() -> None:
    torch.manual_seed(4)
    segmenter, brown = Segmenter(4), torch.rand(2, 20, 28) > 0.5
    image = torch.where(brown[:, None], stained(0.1, 0.6), stained(0.1, 0.0))
    optimiser = torch.optim.Adam(segmenter.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        loss = segmentation_loss(segmenter(image)[1], brown)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_least_squares() -> None:
    class Verdict(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean((1, 2, 3), keepdim=True)

    virtual, real = torch.full((2, 3, 4, 5), 0.25), torch.full((2, 3, 4, 5), 0.5)
    assert float(fools(Verdict(), virtual)) == pytest.approx(0.75**2)
    assert float(tells_apart(Verdict(), virtual, real)) == pytest.approx((0.25**2 + 0.5**2) / 2)


def test_the_discriminator_judges_patches_and_sees_absolute_colour() -> None:
    torch.manual_seed(6)
    network = PatchDiscriminator(DiscriminatorOptions(width=4, layers=3)).eval().requires_grad_(False)
    image = torch.rand(1, 3, 48, 64)
    assert network(image).shape == (1, 1, 6, 8)
    assert float((network(image) - network(image * 0.5)).abs().max()) > 1e-3
