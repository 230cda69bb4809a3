"""Step one: pairs with labels, checked and split by slide and patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wsi_pipeline.errors import UsageError
from wsi_pipeline.export.atomic import plain_disk_errors, write_atomic
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.training.data.checks import check_patches
from wsi_pipeline.training.data.index import write_index
from wsi_pipeline.training.data.layouts import read_dataset
from wsi_pipeline.training.data.phantoms import PhantomSource
from wsi_pipeline.training.data.records import Patch, Split
from wsi_pipeline.training.data.splits import ORDER, complete_splits, of_split, require_no_leak
from wsi_pipeline.training.study.guard import png, require_real
from wsi_pipeline.training.study.options import StudyOptions, StudyPhantoms
from wsi_pipeline.training.study.tiles import side_in

PHANTOMS = "phantoms"
"""What `--data` is called when pairs are to be painted."""

LEAST_STAINER_PX = 256
"""Side of the pairs that a stainer in training is judged by, px."""

Show = Callable[[str, int, int], None]


def split_data(root: Path, options: StudyOptions, *, trains_stainer: bool) -> list[Patch]:
    """Return the labelled pairs in `root`, each with a split; slides and patients never straddle two.

    Raises UsageError, naming the file, for a data set that a study cannot use.
    """
    patches = read_dataset(root)
    require_real(patches)
    labelled = [patch for patch in patches if patch.label is not None]
    if not labelled:
        raise UsageError(
            root, "has no HER2 labels, and a study compares classifiers that need them",
            "take BCI, or an index with a column label; MIST has none",
        )  # fmt: skip
    alone = next((patch for patch in labelled if patch.he is None), None)
    if alone is not None:
        raise UsageError(alone.path, "has no H&E beside it", "a study needs pairs: BCI, or an index with a column pair")
    training = options.classifier
    rest = 1.0 - training.val_share - training.test_share
    shares: dict[Split, float] = {"train": rest, "val": training.val_share, "test": training.test_share}
    split = complete_splits(labelled, shares, options.seed)
    if not of_split(split, "test"):
        raise UsageError(root, "has no test split, and classifier.test_share is 0", "set classifier.test_share")
    least = side_in(training.patches)
    check_patches(split, max(least, options.stainer.crop_px, LEAST_STAINER_PX) if trains_stainer else least)
    require_no_leak(split)
    return split


def paint_pairs(options: StudyPhantoms, folder: Path, show: Show) -> Path:
    """Paint pairs into `folder`, those that are not there yet, and return their index; a phantom stands for a slide."""
    source = PhantomSource(options.model_copy(update={"split": "train", "pairs": True, "bare_share": 0.0}))
    patches = []
    with plain_disk_errors(folder):
        for stain in ("IHC", "HE"):
            (folder / stain).mkdir(parents=True, exist_ok=True)
    for number in range(len(source)):
        show("painting pairs", number, len(source))
        sample = source.sample(number, 0)
        ihc, he = (folder / stain / f"{number:05d}.png" for stain in ("IHC", "HE"))
        if sample.he is not None and not (ihc.is_file() and he.is_file()):
            write_atomic(he, png(sample.he))
            write_atomic(ihc, png(sample.rgb))
        patches.append(Patch(path=ihc, label=sample.label, slide=sample.group, patient=sample.group, he=he))
    return save_index(patches, folder / "index.csv")


def save_index(patches: Sequence[Patch], path: Path) -> Path:
    """Write an index whole or not at all, and return its path. Raises OutputError, ResourceError."""
    beside = path.with_name(f".{path.name}.tmp")
    with plain_disk_errors(path):
        write_index(patches, beside)
        beside.replace(path)
    return path


def split_facts(patches: Sequence[Patch]) -> dict[str, Any]:
    """Return for every split its patches, by class, and its slides and patients by name."""
    facts: dict[str, Any] = {}
    for split in ORDER:
        chosen = of_split(patches, split)
        facts[split] = {
            "patches": len(chosen),
            "by_class": {name: sum(patch.label == k for patch in chosen) for k, name in enumerate(HER2_CLASSES)},
            "patients": len({patch.patient for patch in chosen}),
            "slides": sorted({patch.slide for patch in chosen}),
        }
    return facts
