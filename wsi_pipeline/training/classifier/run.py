"""From two sources to weights that can be used: train, calibrate, measure, write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import yaml
from torch import Tensor

from wsi_pipeline.errors import UsageError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.models.architectures import network_from
from wsi_pipeline.models.manifest import Architecture, Manifest, ModelCard
from wsi_pipeline.models.save import refuse_taken, rounded, save_weights
from wsi_pipeline.training.classifier.calibration import fit_temperature, fold_temperature
from wsi_pipeline.training.classifier.card import SETTINGS, Outcome, card_text, metrics
from wsi_pipeline.training.classifier.evaluation import Answers, evaluate
from wsi_pipeline.training.classifier.network import trainee
from wsi_pipeline.training.classifier.options import ClassifierTraining
from wsi_pipeline.training.classifier.trainer import Best, Show, Sources, Trainer
from wsi_pipeline.training.loop.plot import draw_curves
from wsi_pipeline.training.loop.stepping import training_runtime


class ClassifierRequest(NamedTuple):
    """What is to be trained, with what, and where it ends up."""

    sources: Sources
    card: ModelCard
    """Without metrics; they are measured."""
    architecture: Architecture
    options: ClassifierTraining
    folder: Path
    """Made when absent; `--weights` takes it afterwards."""
    init: Path | None = None
    resume: bool = False
    device: str = "auto"
    show: Show = lambda _stage, _done, _total: None
    say: Callable[[str], None] = lambda _line: None


def train_classifier(request: ClassifierRequest) -> Manifest:
    """Train, and write weights, `card.md`, `settings.yaml`, `steps.csv`, `curves.csv` and `curves.png` to the folder.

    Raises UsageError, WeightsError, OutputError, ResourceError.
    """
    folder, options, card = request.folder, request.options, request.card
    refuse_taken(card.name, folder)
    _make(folder, resume=request.resume)
    runtime = training_runtime(request.architecture, request.device, options.precision)
    request.say(f"trained on {runtime.device} in {runtime.precision}: {runtime.why}")
    start = None if request.resume else request.init
    begun = trainee(request.architecture, card, start, options.seed)
    trainer = Trainer(begun, request.sources, options, runtime, folder)
    best = trainer.train(resume=request.resume, show=request.show)
    _draw(trainer, folder / "curves.png")
    state, outcome = _finish(trainer, best, request, runtime.device)
    card = card.model_copy(update={"metrics": metrics(outcome)})
    manifest = save_weights(state, request.architecture, card, folder, half=options.half)
    write_atomic(folder / SETTINGS, yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False).encode())
    write_atomic(folder / "card.md", card_text(manifest, outcome).encode())
    return manifest


def _finish(trainer: Trainer, best: Best, request: ClassifierRequest, device: str) -> tuple[dict[str, Tensor], Outcome]:
    """Return the best weights, calibrated and rounded as they will be written, and what they are worth."""

    def answers(state: dict[str, Tensor]) -> Answers:
        return trainer.answer(network_from(state, request.architecture).to(device))

    before = answers(best.state)
    temperature = fit_temperature(*before) if request.options.calibrate else 1.0
    state = rounded(fold_temperature(best.state, temperature), half=request.options.half)
    return state, Outcome(best.epoch, temperature, evaluate(before), evaluate(answers(state)))


def _draw(trainer: Trainer, path: Path) -> None:
    """Draw loss, agreement and learning rate against the step."""
    every, ends = trainer.steps, trainer.epochs
    steps, epochs = every.column("step"), ends.column("step")
    draw_curves(
        path,
        {
            "loss": {
                "every step": (steps, every.column("loss")),
                "training": (epochs, ends.column("train_loss")),
                "validation": (epochs, ends.column("val_loss")),
            },
            "validation": {
                "accuracy": (epochs, ends.column("val_accuracy")),
                "quadratic kappa": (epochs, ends.column("val_kappa")),
            },
            "learning rate": {"rate": (steps, every.column("rate"))},
        },
    )


def _make(folder: Path, *, resume: bool) -> None:
    """Make the folder. Raises UsageError when it holds a training that would be overwritten, OutputError."""
    if (folder / "checkpoint.pt").exists() and not resume:
        raise UsageError(folder, "holds a training already", "go on with --resume, or choose another --out")
    with plain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
