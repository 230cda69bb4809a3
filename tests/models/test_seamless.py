"""Staining in windows of any size and offset gives one image."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.geometry import Box, Size, cut  # noqa: E402
from wsi_pipeline.models.preprocess import image_pixels  # noqa: E402
from wsi_pipeline.models.pspstain import Generator  # noqa: E402
from wsi_pipeline.models.seamless import CALIBRATION_PX, SeamlessStainer, to_tensor  # noqa: E402

WIDTH, HEIGHT = 731, 523

Stain = Callable[..., np.ndarray]
"""Takes a reader and a box."""


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


def stainer(slide: np.ndarray, spacing: int | None) -> Stain:
    torch.manual_seed(7)
    made = SeamlessStainer(Generator(width=6))
    field = made.calibrate(reader(slide), Size(WIDTH, HEIGHT), lambda _box: True, spacing)
    return partial(made.stain, field=field)


def in_windows(stain: Stain, slide: np.ndarray, side: int, offset: tuple[int, int]) -> np.ndarray:
    out = np.zeros_like(slide)
    for part in cut(Size(WIDTH + side, HEIGHT + side), side):
        box = Box(part.x - offset[0], part.y - offset[1], side, side).intersection(Box(0, 0, WIDTH, HEIGHT))
        if box.area:
            out[box.y : box.bottom, box.x : box.right] = stain(reader(slide), box)
    return out


@pytest.mark.parametrize("spacing", [None, 160])
def test_windows_of_any_size_and_offset_agree(slide: np.ndarray, spacing: int | None) -> None:
    stain = stainer(slide, spacing)
    whole = stain(reader(slide), Box(0, 0, WIDTH, HEIGHT))
    assert whole.std() > 5
    for side, offset in ((128, (0, 0)), (128, (37, 91)), (300, (0, 0)), (300, (113, 2))):
        parts = in_windows(stain, slide, side, offset)
        assert np.abs(parts.astype(int) - whole).max() <= 1


def test_the_windows_own_statistics_do_leave_seams(slide: np.ndarray) -> None:
    torch.manual_seed(7)
    plain = Generator(width=6).eval()
    made = SeamlessStainer(plain)  # never calibrated: each window is normalised by itself
    whole = made.stain(reader(slide), Box(0, 0, WIDTH, HEIGHT))
    parts = in_windows(made.stain, slide, 128, (0, 0))
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
        stain = stainer(slide, spacing)
        errors.append(np.abs(stain(reader(slide), corner).astype(int) - own)[60:140, 60:140].mean())
    assert errors[0] < errors[1]


def test_generator_without_norms_needs_no_calibration(slide: np.ndarray) -> None:
    torch.manual_seed(7)
    made = SeamlessStainer(Generator(width=6, norm="folded"))
    assert not made.needs_calibration
    whole = made.stain(reader(slide), Box(0, 0, WIDTH, HEIGHT))
    assert np.abs(in_windows(made.stain, slide, 300, (113, 2)).astype(int) - whole).max() <= 1


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
    field = first.calibrate(reader(slide), Size(WIDTH, HEIGHT), lambda _box: True, None, 1)
    box = Box(300, 200, 101, 50)
    np.testing.assert_array_equal(second.stain(reader(slide), box, field), first.stain(reader(slide), box, field))


BOXES = (Box(310, 200, 150, 203), Box(500, 17, 111, 99))


def other(slide: np.ndarray) -> np.ndarray:
    """Return a slide of the same size that is darker, redder and turned by half."""
    return np.clip(slide[::-1, ::-1] * np.array([0.9, 0.45, 0.6]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("spacing", [None, 400])
def test_slides_that_share_a_generator_are_stained_as_each_alone(slide: np.ndarray, spacing: int | None) -> None:
    """Taking turns, and in threads, with more slides than are kept folded."""
    torch.manual_seed(7)
    shared = SeamlessStainer(Generator(width=6))
    slides = [slide, other(slide), other(slide)[:, ::-1] // 2 + 90]
    fields = [shared.calibrate(reader(each), Size(WIDTH, HEIGHT), lambda _box: True, spacing, 2) for each in slides]
    again = shared.calibrate(reader(slide), Size(WIDTH, HEIGHT), lambda _box: True, spacing, 2)
    assert again.digest == fields[0].digest, "measuring leaves nothing behind"
    assert len({field.digest for field in fields}) == 3

    def stained(number: int, box: Box) -> np.ndarray:
        return shared.stain(reader(slides[number]), box, fields[number])

    alone = {(number, box): stained(number, box) for number in range(3) for box in BOXES}
    jobs = [(number, box) for box in BOXES for number in range(3)]
    for number, box in jobs:
        np.testing.assert_array_equal(stained(number, box), alone[number, box])
    with ThreadPoolExecutor(3) as pool:
        for job, found in zip(jobs, pool.map(lambda job: stained(*job), jobs), strict=True):
            np.testing.assert_array_equal(found, alone[job])
    wrong = shared.stain(reader(slides[1]), BOXES[0], fields[0])
    assert (wrong != alone[1, BOXES[0]]).any(axis=2).mean() > 0.5, "the statistics of another slide do show"
