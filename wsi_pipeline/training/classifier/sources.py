"""Training and validation tiles of a data set on disk, or of phantoms, with what the model card must say of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from wsi_pipeline.errors import UsageError
from wsi_pipeline.models.manifest import HER2_CLASSES, ModelCard
from wsi_pipeline.training.classifier.options import ClassifierTraining
from wsi_pipeline.training.classifier.trainer import Sources
from wsi_pipeline.training.data.checks import check_patches
from wsi_pipeline.training.data.layouts import read_dataset
from wsi_pipeline.training.data.patches import PatchSource
from wsi_pipeline.training.data.phantoms import PhantomSource
from wsi_pipeline.training.data.records import Patch, Split
from wsi_pipeline.training.data.splits import complete_splits, of_split

PHANTOMS = "phantoms"
"""What `--data` is called when tiles are to be painted."""


class Described(NamedTuple):
    """Sources, their pixel size, um/px, and a sentence for the card."""

    sources: Sources
    mpp: float
    words: str
    saw_real_tissue: bool = True


def open_sources(data: str, options: ClassifierTraining, folder: Path) -> Described:
    """Return the tiles of `data`: a folder or index of patches, or the word PHANTOMS (painted ones go to `folder`).

    Patches of one slide or patient never straddle training and validation. Raises UsageError naming the first file that
    is wrong.
    """
    return _phantoms(options, folder) if data == PHANTOMS else _patches(Path(data), options)


def _phantoms(options: ClassifierTraining, folder: Path) -> Described:
    """Return painted tiles; no phantom is in both sources."""
    still = options.phantoms.model_copy(update={"augment": None})
    train = (options.phantoms if options.augment else still).model_copy(update={"split": "train"})
    val = still.model_copy(update={"split": "val", "tiles": options.val_tiles, "phantoms": None})
    source = PhantomSource(train, folder / "phantoms" if train.phantoms is not None else None)
    words = (
        f"synthetic tissue only: phantom tiles painted by this package, {train.tiles} an epoch, seed {train.seed}; "
        "labels by the scoring rule from the true cell classes; no real image"
    )
    low, high = source.domain.mpp
    return Described(Sources(source, PhantomSource(val)), round((low + high) / 2, 3), words, False)


def _patches(root: Path, options: ClassifierTraining) -> Described:
    """Return crops of the labelled patches in `root`."""
    patches = [patch for patch in read_dataset(root) if patch.label is not None]
    if not patches:
        raise UsageError(root, "has no labelled patch", "a classifier learns from labels")
    rest = 1.0 - options.val_share - options.test_share
    shares: dict[Split, float] = {"train": rest, "val": options.val_share, "test": options.test_share}
    split = complete_splits(patches, shares, options.seed)
    check_patches(split, round(options.patches.tile_px * options.patches.mpp_out / options.patches.mpp_in))
    train, val = of_split(split, "train"), of_split(split, "val")
    still = options.patches.model_copy(update={"augment": None})
    sources = Sources(PatchSource(train, options.patches if options.augment else still), PatchSource(val, still))
    return Described(sources, options.patches.mpp_out, _words(root, train))


def _words(root: Path, train: list[Patch]) -> str:
    """Return what the training patches are, by class; the folder by its name alone."""
    counts = [sum(patch.label == label for patch in train) for label in range(len(HER2_CLASSES))]
    by_class = ", ".join(f"{count} of {name}" for count, name in zip(counts, HER2_CLASSES, strict=True))
    made = sum(patch.synthetic for patch in train)
    slides = len({patch.slide for patch in train})
    synthetic = f"; {made} of them synthetic" if made else ""
    return f"{root.resolve().name}: {len(train)} patches ({by_class}) from {slides} slides{synthetic}"


def described_card(found: Described, name: str, licence: str, init: Path | None) -> ModelCard:
    """Return the card of weights that are to be trained with `found`. Raises UsageError for an impossible name."""
    start = f"; started from {init.name}" if init is not None else ""
    try:
        return ModelCard(
            name=name, mpp=found.mpp, licence=licence, training_data=found.words + start,
            trained_on="real tissue" if found.saw_real_tissue else "phantoms",
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{first['loc'][0]}", f"{first['input']!r}: {first['msg']}") from error
