"""From two sources to weights that can be used: train, validate beside baselines, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from wsi_pipeline.errors import UsageError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.models.manifest import Manifest, ModelCard
from wsi_pipeline.models.pspstain import Generator
from wsi_pipeline.models.save import refuse_taken, save_weights
from wsi_pipeline.training.data.order import reading_order
from wsi_pipeline.training.data.records import Source
from wsi_pipeline.training.loop.batches import Batch, Draw, Loader, in_batches
from wsi_pipeline.training.loop.checkpoint import Checkpoint, Position
from wsi_pipeline.training.loop.curves import Curve
from wsi_pipeline.training.loop.plot import draw_curves
from wsi_pipeline.training.loop.schedule import cosine_rate
from wsi_pipeline.training.loop.stepping import training_runtime
from wsi_pipeline.training.stainer.augment import augmented
from wsi_pipeline.training.stainer.baselines import LinearStain, identity
from wsi_pipeline.training.stainer.card import VIRTUAL, Table, card_text, manifest_metrics, table_csv
from wsi_pipeline.training.stainer.metrics import MEASURES, Classify
from wsi_pipeline.training.stainer.networks import plain_state, read_plain, settled
from wsi_pipeline.training.stainer.options import StainerOptions
from wsi_pipeline.training.stainer.pairs import pairs
from wsi_pipeline.training.stainer.trainer import StainerTrainer
from wsi_pipeline.training.stainer.validation import Stain, classifier, measure, staining, write_grid

LINEAR_PAIRS = 64
"""Training pairs that the linear baseline is fitted on; a dozen numbers need no more."""

TRAINING, SETTLING = 0, 1
"""What random numbers are drawn for."""

MAY_CHANGE = {"checkpoint_steps", "validation"}
"""Options that do not change the loss, so that training may go on with others."""


@dataclass(frozen=True)
class StainerRequest:
    """What is to be trained, on what, and where it ends up."""

    train: Source
    val: Source
    card: ModelCard
    """Without metrics; they are measured."""
    options: StainerOptions
    folder: Path
    """Made when absent; `--weights` takes it afterwards."""
    init: Path | None = None
    resume: bool = False
    device: str = "auto"
    workers: int = 0
    classifier: str | None = None
    """Weights that judge whether labels survive."""
    weights: Path | None = None
    """Folder in which those are looked for first."""
    show: Callable[[str, int, int], None] = lambda _stage, _done, _total: None
    say: Callable[[str], None] = lambda _line: None


def train_stainer(request: StainerRequest) -> Manifest:
    """Train and write `NAME.safetensors`, `NAME.json`, `card.md`, `table.csv`, curves and sample grids.

    Raises UsageError, WeightsError, OutputError, ResourceError.
    """
    folder, options = request.folder, request.options
    refuse_taken(request.card.name, folder)
    if (folder / "checkpoint.pt").exists() and not request.resume:
        raise UsageError(folder, "holds a training already", "go on with --resume, or choose another --out")
    with plain_disk_errors(folder):
        (folder / "grids").mkdir(parents=True, exist_ok=True)
    training = StainerTraining(request)
    table = training.train()
    card = request.card.model_copy(update={"metrics": manifest_metrics(table)})
    state = plain_state(training.averaged(), options.architecture)
    counts = len(request.train), min(options.validation.most, len(request.val))
    manifest = save_weights(state, options.architecture, card, folder)
    write_atomic(folder / "table.csv", table_csv(table))
    write_atomic(folder / "card.md", card_text(manifest, table, options, counts))
    return manifest


class StainerTraining:
    """One training in one folder: `checkpoint.pt`, `steps.csv`, `curves.csv`, `curves.png`, `grids/`."""

    def __init__(self, request: StainerRequest) -> None:
        """Prepare networks and baselines. Raises UsageError for sources without pairs, WeightsError."""
        options = request.options
        self._request, self._options = request, options
        self._runtime = training_runtime(options.architecture, request.device, options.precision)
        request.say(f"trained on {self._runtime.device} in {self._runtime.precision}: {self._runtime.why}")
        self._trainer = StainerTrainer(options, self._runtime)
        self._loader = Loader(request.train, request.workers)
        first = [index for batch in self._plan(0) for index, _ in batch][:LINEAR_PAIRS]
        self._linear = LinearStain.fit(pairs(request.train, first))
        self._settling: list[Tensor] = []
        if request.init is not None and not request.resume:
            self._trainer.start_from(read_plain(request.init, options.architecture), self._settling_images()[0])
        self._classify: Classify | None = None
        if request.classifier is not None:
            self._classify = classifier(request.classifier, request.weights, self._runtime.device)
        self._steps = Curve(request.folder / "steps.csv", ("epoch", "rate", *self._trainer.loss_names))
        self._curves = Curve(request.folder / "curves.csv", ("epoch", *MEASURES))
        self._checkpoint = Checkpoint(request.folder / "checkpoint.pt", self._trainer.parts(), self._identity())

    def train(self) -> Table:
        """Train to the end, from the start or from the checkpoint, and return the last validation's table."""
        position = self._resume() if self._request.resume else self._start()
        table: Table | None = None
        for epoch in range(position.epoch, self._options.epochs):
            position = self._epoch(position._replace(epoch=epoch))
            if (epoch + 1) % self._options.validation.every == 0 or epoch + 1 == self._options.epochs:
                table = self._validate(epoch + 1)
                self._curves.add(position.step - 1, {"epoch": epoch} | dict(table[VIRTUAL]))
            position = Position(epoch + 1, 0, position.step)
            self._save(position)
        self._draw()
        return table or self._validate(self._options.epochs)

    def averaged(self) -> Generator:
        """Return the averaged generator with statistics of its own."""
        images = (image.to(self._runtime.device) for image in self._settling_images())
        return settled(cast("Generator", self._trainer.ema.network), images)

    def _start(self) -> Position:
        """Begin the curves."""
        self._steps.start()
        self._curves.start()
        return Position()

    def _resume(self) -> Position:
        """Go back to the checkpoint."""
        position = self._checkpoint.restore().position
        self._steps.rewind(position.step)
        self._curves.rewind(position.step)
        return position

    def _plan(self, epoch: int) -> list[list[Draw]]:
        """Return the batches of an epoch; equally many in every epoch."""
        source, size = self._request.train, self._options.batch
        order = reading_order(len(source), getattr(source, "block", 1), epoch, self._options.seed, size)
        return in_batches([(int(index), epoch) for index in order], size, drop_last=True)

    def _seen(self, batch: Batch, purpose: int, number: int) -> tuple[Tensor, Tensor]:
        """Return H&E and IHC as the networks see them, changed as (seed, purpose, number) say."""
        rng = np.random.default_rng([self._options.seed, purpose, number])
        return augmented(batch, self._options.crop_px, self._options.jitter, rng)

    def _settling_images(self) -> list[Tensor]:
        """Return the first batches of H&E (B, 3, crop, crop); they are read once."""
        if not self._settling:
            batches = enumerate(self._loader.batches(self._plan(0)[: self._options.validation.settle_batches]))
            self._settling = [self._seen(batch, SETTLING, number)[0] for number, batch in batches]
        return self._settling

    def _epoch(self, position: Position) -> Position:
        """Do the rest of an epoch, and return where it ended."""
        plan, options = self._plan(position.epoch), self._options
        total = len(plan) * options.epochs
        for batch in self._loader.batches(plan[position.batch :]):
            rate = cosine_rate(position.step, total, options.optimiser.warmup_steps, options.optimiser.final_share)
            losses = self._trainer.step(*self._seen(batch, TRAINING, position.step), position.step, rate)
            self._steps.add(position.step, {"epoch": position.epoch, "rate": rate} | losses)
            position = Position(position.epoch, position.batch + 1, position.step + 1)
            self._request.show(f"epoch {position.epoch + 1} of {options.epochs}", position.batch, len(plan))
            if position.step % options.checkpoint_steps == 0:
                self._save(position)
        return position

    def _validate(self, epochs: int) -> Table:
        """Measure the averaged generator and the baselines after so many epochs, and write the sample grid."""
        self._request.show("validating", 0, 1)
        methods: dict[str, Stain] = {
            "identity": identity, "linear": self._linear, VIRTUAL: staining(self.averaged(), self._runtime.device)
        }  # fmt: skip
        table, rows = measure(self._request.val, methods, self._options.validation, self._classify)
        titles = ("H&E", "real IHC", "linear", "virtual IHC")
        write_grid(self._request.folder / "grids" / f"epoch_{epochs:04d}.png", rows, titles)
        return table

    def _save(self, position: Position) -> None:
        """Write a checkpoint, once the curves that lead to it are safe."""
        self._steps.sync()
        self._curves.sync()
        self._checkpoint.save(position)

    def _draw(self) -> None:
        """Draw losses and validation against the step."""
        steps, ends = self._steps.column("step"), self._curves.column("step")
        weights = self._options.losses.model_dump()
        critics = sorted({"adversarial", "discriminator", "segmenter"} & set(self._trainer.loss_names))
        shares = {name: weights[name] for name in self._trainer.loss_names if name in weights} | {"total": 1.0}
        panels = {
            "objective, weighted parts": {
                name: (steps, [weight * value for value in self._steps.column(name)]) for name, weight in shares.items()
            },
            "adversary and segmenter": {name: (steps, self._steps.column(name)) for name in critics},
            "validation": {name: (ends, self._curves.column(name)) for name in ("ssim", "dab_pearson", "dab_kl")},
        }
        draw_curves(self._request.folder / "curves.png", {title: lines for title, lines in panels.items() if lines})

    def _identity(self) -> dict[str, Any]:
        """Return what must not change between a training and its continuation, by dotted name."""
        facts = _flat(self._options.model_dump(mode="json", exclude=MAY_CHANGE))
        return facts | {"training samples": len(self._request.train)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
