"""Made-up pairs and settings that train in seconds; run as a program it trains them: FOLDER PAUSE_S [resume]."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch

from wsi_pipeline.models.manifest import ModelCard
from wsi_pipeline.training.data.records import Sample
from wsi_pipeline.training.stainer.options import StainerOptions
from wsi_pipeline.training.stainer.run import StainerRequest, train_stainer

HEIGHT_PX, WIDTH_PX = 44, 53
"""Neither square nor multiples of 4."""

HEMATOXYLIN, EOSIN, DAB = (np.array(v) for v in ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)))

OPTIONS = StainerOptions.model_validate(
    {
        "architecture": "pspstain-light", "epochs": 3, "batch": 2, "crop_px": 32, "checkpoint_steps": 3, "seed": 7,
        "nce": {"features": 8, "patches": 16}, "ctpc": {"width": 4, "shrink": 2},
        "discriminator": {"width": 4, "layers": 2},
        "optimiser": {"learning_rate": 1e-3, "ema": 0.5, "warmup_steps": 2, "final_share": 0.1},
        "validation": {"tile_px": 16, "grid": 2, "settle_batches": 2},
    }
)  # fmt: skip


class Blobs:
    """Cells that are darker in H&E the more DAB they have in IHC; `he` can be left out."""

    def __init__(self, count: int, seed: int, pause_s: float = 0.0, *, he: bool = True) -> None:
        self._count, self._seed, self._pause_s, self._he = count, seed, pause_s, he

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int, epoch: int) -> Sample:  # noqa: ARG002 - the same in every epoch
        time.sleep(self._pause_s)
        rng = np.random.default_rng((self._seed, index))
        y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
        cells, amount = np.zeros((HEIGHT_PX, WIDTH_PX)), index % 4
        for _ in range(5):
            top, left, radius = rng.uniform(0, HEIGHT_PX), rng.uniform(0, WIDTH_PX), rng.uniform(4, 8)
            cells = np.maximum(cells, np.exp(-((y - top) ** 2 + (x - left) ** 2) / radius**2))
        he = 0.3 * EOSIN + cells[..., None] * HEMATOXYLIN * (0.3 + 0.2 * amount)
        ihc = 0.1 * HEMATOXYLIN + cells[..., None] * DAB * 0.35 * amount
        he_rgb, ihc_rgb = (np.rint(250 * 10**-od).astype(np.uint8) for od in (he, ihc))
        return Sample(ihc_rgb, amount, he_rgb if self._he else None, f"slide-{index % 3}")


def request(
    folder: Path, options: StainerOptions = OPTIONS, *, pause_s: float = 0.0, resume: bool = False
) -> StainerRequest:
    card = ModelCard(name="tiny", mpp=0.46, licence="CC0-1.0", training_data="blobs")
    return StainerRequest(Blobs(11, 1, pause_s), Blobs(4, 2), card, options, folder, resume=resume, device="cpu")


def main() -> None:
    torch.set_num_threads(1)
    folder, pause_s, *resume = sys.argv[1:]
    train_stainer(request(Path(folder), pause_s=float(pause_s), resume=bool(resume)))


if __name__ == "__main__":
    main()
