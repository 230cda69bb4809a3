"""The training loop of CellNet; killed anywhere, it goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from wsi_pipeline.models.cellnet import CellNet
from wsi_pipeline.training.cells.options import CellTraining
from wsi_pipeline.training.cells.samples import Batch, Material, draw_batch
from wsi_pipeline.training.loop.checkpoint import Checkpoint, Position, Stateful
from wsi_pipeline.training.loop.curves import Curve
from wsi_pipeline.training.loop.ema import Ema
from wsi_pipeline.training.loop.schedule import cosine_rate
from wsi_pipeline.training.loop.stepping import set_rate

COLUMNS = ("loss", "rate")

Show = Callable[[str, int, int], None]


def loss_of(answer: Tensor, batch: Batch) -> Tensor:
    """Return the loss of CHANNELS (B, 4, H, W): each window counts where it knows something."""
    cells, epithelium = batch.knows_cells, batch.knows_epithelium
    total = answer.sum() * 0
    if cells.any():
        logit, nucleus = answer[cells, 0], batch.nucleus[cells]
        likely = torch.sigmoid(logit)
        overlap = (2 * (likely * nucleus).sum() + 1) / (likely.sum() + nucleus.sum() + 1)
        total = total + functional.binary_cross_entropy_with_logits(logit, nucleus) + 0.5 * (1 - overlap)
        total = total + 2 * functional.mse_loss(answer[cells, 1], batch.core[cells])
        total = total + 0.5 * functional.binary_cross_entropy_with_logits(answer[cells, 2], batch.wall[cells])
    if epithelium.any():
        told = functional.binary_cross_entropy_with_logits(answer[epithelium, 3], batch.epithelium[epithelium])
        total = total + 0.7 * told
    return total


class CellTrainer:
    """One training in one folder: `checkpoint.pt` and `steps.csv`."""

    def __init__(self, material: Material, options: CellTraining, identity: dict[str, Any], folder: Path) -> None:
        """Prepare to train in `folder`, which exists; `identity`: what has to be equal when training goes on."""
        self._material, self._options = material, options
        torch.manual_seed(options.seed)
        self._network = CellNet()
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )
        self._ema = Ema(self._network, options.ema_decay)
        self.steps = Curve(folder / "steps.csv", COLUMNS)
        parts: dict[str, Stateful] = {"network": self._network, "ema": self._ema, "optimiser": self._optimiser}
        self._checkpoint = Checkpoint(folder / "checkpoint.pt", parts, identity)

    def train(self, *, resume: bool, show: Show) -> CellNet:
        """Train to the end, from the start or from the checkpoint, and return the averaged network."""
        if resume:
            first = self._checkpoint.restore().position.step
            self.steps.rewind(first)
        else:
            first = 0
            self.steps.start()
        total = self._options.steps
        for step in range(first, total):
            self._step(step)
            if (step + 1) % self._options.checkpoint_steps == 0 or step + 1 == total:
                self.steps.sync()
                self._checkpoint.save(Position(step=step + 1))
            show("steps", step + 1, total)
        network = self._ema.network
        return cast("CellNet", network)

    def _step(self, step: int) -> None:
        """Take one step and write it down."""
        options = self._options
        warmup = max(int(options.warmup * options.steps), 1)
        rate = options.learning_rate * cosine_rate(step, options.steps, warmup, options.final_share)
        set_rate(self._optimiser, rate)
        self._network.train()
        batch = draw_batch(self._material, options, step)
        loss: Any = loss_of(self._network(batch.density), batch)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if options.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), options.clip_norm)
        self._optimiser.step()
        self._ema.update(self._network)
        self.steps.add(step, {"loss": float(loss.detach()), "rate": rate})
