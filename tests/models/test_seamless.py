"""Staining in windows of any size and offset gives one image."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install 'wsi-her2[models]'")

from wsi_pipeline.geometry import Box, Size, cut  # noqa: E402
from wsi_pipeline.models.preprocess import image_pixels  # noqa: E402
from wsi_pipeline.models.pspstain import Generator  # noqa: E402
from wsi_pipeline.models.seamless import CALIBRATION_PX, SeamlessStainer, to_tensor  # noqa: E402

WIDTH, HEIGHT = 731, 523


@pytest.fixture(scope="module")
def slide() -> np.ndarray:
    """Return an H&E-like picture whose left is unlike its right, (HEIGHT, WIDTH, 3) uint8."""
    generator = np.random.default_rng(4)
    coarse = generator.uniform(90, 230, (HEIGHT // 16 + 2, WIDTH // 16 + 2, 3))
    image = np.kron(coarse, np.ones((16, 16, 1)))[:HEIGHT, :WIDTH]
    image[:, : WIDTH // 3] = 255 - (255 - image[:, : WIDTH // 3]) * 0.3
    return np.clip(image + generator.normal(0, 9, image.shape), 0, 255).astype(np.uint8)


def reader(slide: np.ndarray):
    def read(box: Box) -> np.ndarray:
        out = np.full((box.height, box.width, 3), 255, np.uint8)
        inside = box.intersection(Box(0, 0, WIDTH, HEIGHT))
        source = slide[inside.y : inside.bottom, inside.x : inside.right]
        out[inside.y - box.y : inside.bottom - box.y, inside.x - box.x : inside.right - box.x] = source
        return out

    return read


def stainer(slide: np.ndarray, spacing: int | None) -> SeamlessStainer:
    torch.manual_seed(7)
    made = SeamlessStainer(Generator(width=6))
    made.calibrate(reader(slide), Size(WIDTH, HEIGHT), lambda _box: True, spacing)
    return made


def in_windows(made: SeamlessStainer, slide: np.ndarray, side: int, offset: tuple[int, int]) -> np.ndarray:
    out = np.zeros_like(slide)
    for part in cut(Size(WIDTH + side, HEIGHT + side), side):
        box = Box(part.x - offset[0], part.y - offset[1], side, side).intersection(Box(0, 0, WIDTH, HEIGHT))
        if box.area:
            out[box.y : box.bottom, box.x : box.right] = made.stain(reader(slide), box)
    return out


@pytest.mark.parametrize("spacing", [None, 160])
def test_windows_of_any_size_and_offset_agree(slide: np.ndarray, spacing: int | None) -> None:
    made = stainer(slide, spacing)
    whole = made.stain(reader(slide), Box(0, 0, WIDTH, HEIGHT))
    assert whole.std() > 5
    for side, offset in ((128, (0, 0)), (128, (37, 91)), (300, (0, 0)), (300, (113, 2))):
        parts = in_windows(made, slide, side, offset)
        assert np.abs(parts.astype(int) - whole).max() <= 1


def test_the_windows_own_statistics_do_leave_seams(slide: np.ndarray) -> None:
    torch.manual_seed(7)
    plain = Generator(width=6).eval()
    made = SeamlessStainer(plain)  # never calibrated: each window is normalised by itself
    whole = made.stain(reader(slide), Box(0, 0, WIDTH, HEIGHT))
    parts = in_windows(made, slide, 128, (0, 0))
    assert np.abs(parts.astype(int) - whole).max() > 20


def test_local_statistics_are_nearer_to_the_window_than_global_ones(slide: np.ndarray) -> None:
    torch.manual_seed(7)
    plain = Generator(width=6).eval()
    corner = Box(0, 0, 200, 200)
    with torch.inference_mode():
        box = Box(100 - CALIBRATION_PX // 2, 100 - CALIBRATION_PX // 2, CALIBRATION_PX, CALIBRATION_PX)
        own = image_pixels(plain(to_tensor(reader(slide)(box))))[0].numpy()[
            -box.y : -box.y + 200, -box.x : -box.x + 200
        ]
    errors = []
    for spacing in (200, None):
        made = stainer(slide, spacing)
        errors.append(np.abs(made.stain(reader(slide), corner).astype(int) - own)[60:140, 60:140].mean())
    assert errors[0] < errors[1]


def test_generator_without_norms_needs_no_calibration(slide: np.ndarray) -> None:
    torch.manual_seed(7)
    made = SeamlessStainer(Generator(width=6, norm="folded"))
    assert not made.needs_calibration
    whole = made.stain(reader(slide), Box(0, 0, WIDTH, HEIGHT))
    assert np.abs(in_windows(made, slide, 300, (113, 2)).astype(int) - whole).max() <= 1


def test_glass_decides_nothing(slide: np.ndarray) -> None:
    torch.manual_seed(7)
    made = SeamlessStainer(Generator(width=6))
    field = made.calibrate(reader(slide), Size(WIDTH, HEIGHT), lambda box: box.x + box.width // 2 > WIDTH / 2, 160)
    left, right = field.mean[0][:, :, 0], field.mean[0][:, :, -2:]
    tissue = field.mean[0][:, :, [c for c in range(field.mean[0].shape[2]) if (c + 0.5) * 160 > WIDTH / 2]]
    torch.testing.assert_close(left, tissue.mean(dim=(1, 2))[:, None].expand_as(left))
    assert right.std() > 0


def test_a_generator_can_be_taken_over_again(slide: np.ndarray) -> None:
    torch.manual_seed(7)
    network = Generator(width=6)
    first, second = (SeamlessStainer(network) for _ in range(2))
    assert second.needs_calibration
    second.use(first.calibrate(reader(slide), Size(WIDTH, HEIGHT), lambda _box: True, None, 1))
    box = Box(300, 200, 101, 50)
    np.testing.assert_array_equal(second.stain(reader(slide), box), first.stain(reader(slide), box))
