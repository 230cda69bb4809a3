"""The training loop of a classifier; killed anywhere, it goes on as if nothing had happened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsi_pipeline.errors import UsageError
from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.models.preprocess import network_input
from wsi_pipeline.models.runtime import Runtime
from wsi_pipeline.training.classifier.evaluation import Answers, evaluate
from wsi_pipeline.training.classifier.loss import ordinal_loss
from wsi_pipeline.training.classifier.network import Trainee
from wsi_pipeline.training.classifier.options import ClassifierTraining
from wsi_pipeline.training.data.records import Source
from wsi_pipeline.training.loop.batches import (
    Batch,
    Draw,
    KeptBatches,
    Loader,
    balanced_draws,
    in_batches,
    labels_of,
    plain_draws,
)
from wsi_pipeline.training.loop.checkpoint import Checkpoint, Position, Stateful, read_checkpoint
from wsi_pipeline.training.loop.curves import Curve
from wsi_pipeline.training.loop.ema import Ema
from wsi_pipeline.training.loop.schedule import cosine_rate
from wsi_pipeline.training.loop.stepping import Stepper, set_rate

NO_NUMBER = {"half", "calibrate", "checkpoint_steps"}
"""Options that may change when training goes on: they do not change the loss."""

STEP_COLUMNS = ("epoch", "loss", "rate", "gradient_norm")
EPOCH_COLUMNS = ("epoch", "train_loss", "val_loss", "val_accuracy", "val_kappa")

Show = Callable[[str, int, int], None]


class Sources(NamedTuple):
    """What a network is trained with and chosen by."""

    train: Source
    val: Source


class Best(NamedTuple):
    """The averaged weights of least validation loss."""

    state: dict[str, Tensor]
    epoch: int
    loss: float


class Trainer:
    """One training in one folder: `checkpoint.pt`, `best.pt`, `steps.csv`, `curves.csv`."""

    def __init__(
        self, trainee: Trainee, sources: Sources, options: ClassifierTraining, runtime: Runtime, folder: Path
    ) -> None:
        """Prepare to train `trainee` in `folder`, which exists. Raises UsageError when a class has no tile."""
        self._options, self._runtime, self._manifest = options, runtime, trainee.manifest
        self._network = trainee.network.to(runtime.device)
        if runtime.device != "cpu":
            self._network.to(memory_format=torch.channels_last)
        for layer in self._network.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.momentum = options.norm_momentum
        self._source, self._labels = sources.train, labels_of(sources.train)
        if self._labels is not None:
            _refuse_empty(self._labels)
        self._train = Loader(sources.train, options.workers)
        read_once = plain_draws(sources.val, 0, options.seed, options.batch_size, options.workers)
        plan = in_batches(read_once, options.batch_size, drop_last=False)
        self._val = KeptBatches(Loader(sources.val, options.workers), plan)
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self._stepper = Stepper(self._optimiser, runtime, options.clip_norm)
        self._ema = Ema(self._network, options.ema_decay)
        self._best_file = folder / "best.pt"
        self._best_loss, self._best_epoch = float("inf"), -1
        self.steps = Curve(folder / "steps.csv", STEP_COLUMNS)
        self.epochs = Curve(folder / "curves.csv", EPOCH_COLUMNS)
        parts: dict[str, Stateful] = {
            "network": self._network, "ema": self._ema, "optimiser": self._optimiser, "stepper": self._stepper
        }  # fmt: skip
        self._checkpoint = Checkpoint(folder / "checkpoint.pt", parts, self._identity(len(sources.val)))

    def train(self, *, resume: bool, show: Show) -> Best:
        """Train to the end, from the start or from the checkpoint, and return the best weights."""
        position = self._resume() if resume else self._start()
        for epoch in range(position.epoch, self._options.epochs):
            position = self._epoch(position._replace(epoch=epoch), show)
        content = read_checkpoint(self._best_file)
        return Best(content["state"], content["epoch"], content["loss"])

    def answer(self, network: nn.Module) -> Answers:
        """Return what a network (in eval, on its device) says about the validation tiles whose label is known.

        Raises UsageError when there is no such tile.
        """
        logits, labels = [], []
        with torch.inference_mode():
            for batch in self._val:
                logits.append(network(self._input(batch)).double().cpu().numpy())
                labels.append(batch.labels.numpy())
        answers = Answers(np.concatenate(logits), np.concatenate(labels))
        known = answers.labels >= 0
        if not known.any():
            raise UsageError("validation data", "has no tile with a known label")
        return Answers(answers.logits[known], answers.labels[known])

    def _start(self) -> Position:
        """Begin the curves, and the stream of random numbers."""
        torch.manual_seed(self._options.seed)
        self.steps.start()
        self.epochs.start()
        return Position()

    def _resume(self) -> Position:
        """Go back to the checkpoint."""
        position, extra = self._checkpoint.restore()
        self._best_loss, self._best_epoch = extra["best_loss"], extra["best_epoch"]
        self.steps.rewind(position.step)
        self.epochs.rewind(position.step)
        return position

    def _plan(self, epoch: int) -> list[list[Draw]]:
        """Return the batches of an epoch; equally many in every epoch."""
        options = self._options
        draws = balanced_draws(self._source, epoch, options.seed, options.balance)
        if draws is None:
            draws = plain_draws(self._source, epoch, options.seed, options.batch_size, options.workers)
        return in_batches(draws, options.batch_size, drop_last=True)

    def _epoch(self, position: Position, show: Show) -> Position:
        """Do the rest of an epoch, validate, and return the start of the next."""
        plan = self._plan(position.epoch)
        for batch in self._train.batches(plan[position.batch :]):
            self._step(batch, position, len(plan))
            position = position._replace(batch=position.batch + 1, step=position.step + 1)
            show(f"epoch {position.epoch + 1} of {self._options.epochs}", position.batch, len(plan))
            if position.step % self._options.checkpoint_steps == 0:
                self._save(position)
        show("validating", 0, 1)
        self._validate(position)
        position = Position(position.epoch + 1, 0, position.step)
        self._save(position)
        return position

    def _step(self, batch: Batch, position: Position, batches: int) -> None:
        """Take one optimiser step."""
        options = self._options
        share = cosine_rate(
            position.step, batches * options.epochs, round(options.warmup_epochs * batches), options.final_rate_share
        )
        set_rate(self._optimiser, options.learning_rate * share)
        self._network.train()
        inputs = self._input(batch)
        with self._stepper.autocast():
            logits = self._network(inputs)
        labels = batch.labels.to(self._runtime.device)
        loss = ordinal_loss(logits, labels, options.ordinal_weight, options.label_smoothing)
        norm = self._stepper.step(loss, self._network)
        self._ema.update(self._network)
        self.steps.add(
            position.step,
            {"epoch": position.epoch, "loss": float(loss.detach()), "rate": options.learning_rate * share,
             "gradient_norm": norm},
        )  # fmt: skip

    def _input(self, batch: Batch) -> Tensor:
        """Return the network's input on its device."""
        return network_input(batch.rgb.to(self._runtime.device, non_blocking=True), self._manifest)

    def _validate(self, position: Position) -> None:
        """Put the averaged network to the test, and keep it when it is the best so far."""
        answers = self.answer(self._ema.network)
        logits, labels = torch.from_numpy(answers.logits), torch.from_numpy(answers.labels)
        loss = float(ordinal_loss(logits, labels, self._options.ordinal_weight))
        figures = evaluate(answers)
        trained = [row["loss"] for row in self.steps.rows if row["epoch"] == position.epoch]
        if loss < self._best_loss:
            self._best_loss, self._best_epoch = loss, position.epoch
            content = {"form": 1, "state": self._ema.network.state_dict(), "epoch": position.epoch, "loss": loss}
            write_atomic(self._best_file, lambda file: torch.save(content, file))
        self.epochs.add(
            position.step - 1,
            {"epoch": position.epoch, "train_loss": float(np.mean(trained)), "val_loss": loss,
             "val_accuracy": figures.accuracy, "val_kappa": figures.kappa},
        )  # fmt: skip

    def _save(self, position: Position) -> None:
        """Write a checkpoint, once the curves that lead to it are safe."""
        self.steps.sync()
        self.epochs.sync()
        self._checkpoint.save(position, {"best_loss": self._best_loss, "best_epoch": self._best_epoch})

    def _identity(self, val_tiles: int) -> dict[str, Any]:
        """Return what must not change between a training and its continuation."""
        facts = self._options.model_dump(mode="json", exclude=NO_NUMBER)
        labels = np.zeros(0, np.int64) if self._labels is None else self._labels
        return facts | {
            "architecture": self._manifest.architecture, "training data": self._manifest.training_data,
            "training tiles": len(self._source), "validation tiles": val_tiles,
            "training labels": hashlib.sha256(labels.tobytes()).hexdigest()[:16],
        }  # fmt: skip


def _refuse_empty(labels: NDArray[np.int64]) -> None:
    """Raise UsageError naming the classes that have no training tile."""
    empty = [name for label, name in enumerate(HER2_CLASSES) if not (labels == label).any()]
    if empty:
        raise UsageError("training data", f"has no tile of class {', '.join(empty)}", "add some, or take other data")
