"""A classifier and tiles that train in seconds; run as a program it trains them: FOLDER WORKERS PAUSE_S [resume]."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.manifest import ModelCard
from wsi_pipeline.models.runtime import Runtime
from wsi_pipeline.training.classifier.network import Trainee, draft_manifest
from wsi_pipeline.training.classifier.options import ClassifierTraining
from wsi_pipeline.training.classifier.trainer import Sources, Trainer
from wsi_pipeline.training.data.records import Sample

SIDE_PX = 32
OPTIONS = ClassifierTraining(
    epochs=4, batch_size=6, learning_rate=3e-3, ema_decay=0.9, checkpoint_steps=3, seed=7, balance=0.5
)


class Noise:
    """Brownish noise, the darker the higher the class; a few labels may be unknown."""

    def __init__(self, labels: Sequence[int], seed: int, side_px: int = SIDE_PX, pause_s: float = 0.0) -> None:
        self._labels, self._seed, self._side_px, self._pause_s = list(labels), seed, side_px, pause_s

    def labels(self) -> np.ndarray:
        return np.array(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def sample(self, index: int, epoch: int) -> Sample:
        time.sleep(self._pause_s)
        rng = np.random.default_rng((self._seed, index, epoch))
        level = np.array([235, 225, 215]) - max(self._labels[index], 0) * np.array([30, 45, 55])
        rgb = np.clip(level + rng.normal(0, 25, (self._side_px, self._side_px, 3)), 0, 255).astype(np.uint8)
        return Sample(rgb, self._labels[index], None, f"slide-{index % 5}")


def network(seed: int = 3) -> TileClassifier:
    torch.manual_seed(seed)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 8, 1), nn.ReLU()
    )  # fmt: skip
    return TileClassifier(backbone, 12)


def trainee(seed: int = 3) -> Trainee:
    card = ModelCard(name="tiny", mpp=0.5, licence="CC0-1.0")
    sizes = {"tile_px": SIDE_PX, "input_px": SIDE_PX}
    return Trainee(network(seed), draft_manifest("ihcnet-light", card).model_copy(update=sizes))


def trainer(folder: Path, options: ClassifierTraining = OPTIONS, pause_s: float = 0.0) -> Trainer:
    folder.mkdir(parents=True, exist_ok=True)
    train = Noise([0] * 13 + [1] * 7 + [2] * 5 + [3] * 9 + [-1] * 2, 1, pause_s=pause_s)
    val = Noise([0, 1, 2, 3, 3, 2, 1, 0, -1, 2], 2)
    return Trainer(trainee(), Sources(train, val), options, Runtime(), folder)


def main() -> None:
    torch.set_num_threads(1)
    folder, workers, pause_s, *resume = sys.argv[1:]
    options = OPTIONS.model_copy(update={"workers": int(workers)})
    best = trainer(Path(folder), options, float(pause_s)).train(resume=bool(resume), show=lambda *_: None)
    sys.stdout.write(f"{best.epoch} {best.loss!r}\n")


if __name__ == "__main__":
    main()
