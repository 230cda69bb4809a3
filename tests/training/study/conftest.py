"""Studies that end within a minute: settings that suit the tests, and pairs in BCI's layout."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from wsi_pipeline.training.loop.settings import load_options
from wsi_pipeline.training.study.options import StudyOptions, StudyRequest

REASON = "needs the train extra: pip install '.[train]'"

SMALL: dict[str, Any] = {
    "classifier.preset": "quick", "classifier.epochs": 1, "classifier.batch_size": 6, "classifier.checkpoint_steps": 1,
    "classifier.val_share": 0.25, "classifier.test_share": 0.25, "classifier.patches.crops": 1,
    "stainer.epochs": 1, "stainer.crop_px": 64, "stainer.batch": 4, "stainer.nce": {"features": 8, "patches": 16},
    "stainer.ctpc": {"width": 4, "shrink": 2}, "stainer.discriminator": {"width": 4, "layers": 2},
    "stainer.validation": {"most": 1, "grid": 1, "settle_batches": 1},
    "quality.least_confidence": 0.0, "quality.least_sharpness": 0.0, "quality.least_contrast": 0.0,
    "quality.least_brightness": 0.0, "quality.most_brightness": 1.0,
    "pictures": 1, "intervals.rounds": 100,
    "phantoms.tiles": 24, "phantoms.phantom_px": 512, "phantoms.per_phantom": 2,
}  # fmt: skip
"""Of the checks the label alone is strict: what an untrained generator paints is flat, and no network is sure of it."""


@pytest.fixture(scope="session")
def study_of() -> Callable[..., Any]:
    """Return a function that gives the small study of some data in a folder, with other settings where asked."""

    def request(data: str | Path, out: Path, settings: dict[str, Any] | None = None, **changes: Any) -> StudyRequest:
        options = load_options(StudyOptions, "study", None, SMALL | (settings or {}))
        asked = StudyRequest(str(data), out, options, device="cpu")
        return replace(asked, **changes)

    return request


def write_pair(root: Path, part: str, number: int, label: str, size: tuple[int, int] = (531, 277)) -> None:
    """Write a pair of BCI's layout: blotches, browner in IHC the higher the class; `size` is width, height."""
    rng = np.random.default_rng([number, len(part)])
    coarse = rng.uniform(0, 60, (9, 17, 3)).astype(np.float32)
    texture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) + rng.normal(0, 9, (size[1], size[0], 3))
    brown = np.array([60, 90, 120]) * ("0", "1+", "2+", "3+").index(label) / 3
    for stain, colour in (("HE", np.array([225, 150, 205])), ("IHC", np.array([225, 220, 215]) - brown)):
        folder = root / stain / part
        folder.mkdir(parents=True, exist_ok=True)
        image = np.clip(colour - texture, 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{number:05d}_{part}_{label}.png"), image[..., ::-1])


@pytest.fixture(scope="session")
def bci(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of BCI's layout: twelve pairs to train on, four to test; two tiles fit into each."""
    root = tmp_path_factory.mktemp("sets") / "bci"
    for number, label in enumerate(("0", "1+", "2+", "3+") * 3):
        write_pair(root, "train", number, label)
    for number, label in enumerate(("3+", "2+", "1+", "0")):
        write_pair(root, "test", number, label)
    return root


@pytest.fixture(scope="session")
def done(bci: Path, tmp_path_factory: pytest.TempPathFactory, study_of: Callable[..., Any]) -> Path:
    """Return the folder of a finished study of the BCI-like set, made with one thread so that it can be repeated."""
    torch = pytest.importorskip("torch", reason=REASON)
    run = importlib.import_module("wsi_pipeline.training.study.run")
    out = tmp_path_factory.mktemp("study") / "out"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run.run_study(study_of(bci, out))
    torch.set_num_threads(threads)
    return out
