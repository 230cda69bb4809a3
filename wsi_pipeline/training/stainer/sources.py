"""Training and validation pairs from a data set of a known layout, or from phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.checks import check_patches
from wsi_pipeline.training.data.layouts import read_dataset
from wsi_pipeline.training.data.patches import PatchOptions, PatchSource
from wsi_pipeline.training.data.phantoms import PhantomSource
from wsi_pipeline.training.data.records import Source, Split
from wsi_pipeline.training.data.splits import complete_splits, of_split
from wsi_pipeline.training.stainer.options import PLAIN, StainerOptions

SHARES: dict[Split, float] = {"train": 0.85, "val": 0.15}
"""Of slides or patients, where the data set has no validation part of its own."""

VALIDATION_PX = 256
"""Least side of a validation pair: a classifier's tile."""


PHANTOMS = "phantoms"
"""What `--data` is called when pairs are to be painted."""

PATCH_MPP = 0.46
"""Pixel size of BCI, and nearly that of MIST (0.466), um/px."""


class PairSources(NamedTuple):
    """Where pairs come from, their pixel size, um/px, and a sentence for the card."""

    train: Source
    val: Source
    mpp: float
    words: str
    saw_real_tissue: bool
    """Whether the pairs are of real tissue, whose H&E may tell the HER2 class; that of phantoms does not."""


def open_pairs(data: str, options: StainerOptions, mpp: float | None = None) -> PairSources:
    """Return the pairs of `data`: a folder or index, or the word PHANTOMS. `mpp`: pixel size of patches, um/px.

    Slides and patients never straddle training and validation. Raises UsageError, naming the file, for a data set that
    is not sound.
    """
    return _phantoms(options) if data == PHANTOMS else _patches(Path(data), options, mpp or PATCH_MPP)


def _patches(root: Path, options: StainerOptions, mpp: float) -> PairSources:
    """Return crops of the pairs in `root`: one of each per epoch to train on, their middles to judge by."""
    patches = read_dataset(root)
    alone = next((patch for patch in patches if patch.he is None), None)
    if alone is not None:
        raise UsageError(alone.path, "has no H&E beside it", "a stainer needs pairs: BCI, MIST, or an index with he")
    check_patches(patches, max(options.crop_px, VALIDATION_PX))
    split = complete_splits(patches, SHARES, options.seed)
    cut = PatchOptions(
        tile_px=options.crop_px, mpp_in=mpp, mpp_out=mpp, crops=1, scale=(1.0, 1.0), augment=PLAIN, seed=options.seed
    )
    still = cut.model_copy(update={"augment": None, "tile_px": max(options.crop_px, VALIDATION_PX)})
    train, val = of_split(split, "train"), of_split(split, "val")
    words = f"{root.resolve().name}: {len(train)} pairs from {len({patch.slide for patch in train})} slides"
    return PairSources(PatchSource(train, cut), PatchSource(val, still), mpp, words, saw_real_tissue=True)


def _phantoms(options: StainerOptions) -> PairSources:
    """Return phantom pairs; no phantom is in both sources."""
    train = options.phantoms.model_copy(update={"split": "train", "pairs": True, "tile_px": options.crop_px})
    val = train.model_copy(
        update={"split": "val", "tile_px": max(options.crop_px, VALIDATION_PX), "augment": None, "per_phantom": 8}
        | {"tiles": options.validation.most}
    )
    source = PhantomSource(train)
    low, high = source.domain.mpp
    words = (
        f"synthetic tissue only: pairs of phantom H&E and IHC painted by this package, {train.tiles} an epoch, seed "
        f"{train.seed}; no real image"
    )
    mpp = round((low + high) / 2, 3)
    return PairSources(source, PhantomSource(val), mpp, words, saw_real_tissue=False)
