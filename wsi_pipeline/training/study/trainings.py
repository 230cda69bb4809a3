"""The trainings of a study: two classifiers by one recipe, and a stainer; each goes on where it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wsi_pipeline.models.manifest import Manifest, ModelCard, Origin
from wsi_pipeline.training.classifier.run import ClassifierRequest, train_classifier
from wsi_pipeline.training.classifier.trainer import Sources
from wsi_pipeline.training.data.patches import PatchOptions, PatchSource
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.data.splits import of_split, require_no_leak
from wsi_pipeline.training.stainer.options import PLAIN
from wsi_pipeline.training.stainer.run import StainerRequest, train_stainer
from wsi_pipeline.training.study.data import LEAST_STAINER_PX, PHANTOMS, Show
from wsi_pipeline.training.study.options import StudyRequest
from wsi_pipeline.training.study.sources import StudyTiles
from wsi_pipeline.training.study.tiles import image_size, side_in, tile_boxes

BASELINE, RETRAINED, STAINER = "baseline", "retrained", "stainer"
"""Folders of a study, and names of the weights in them."""


def classifier(request: StudyRequest, name: str, real: Sequence[Patch], made: Sequence[Patch], show: Show) -> Manifest:
    """Train a classifier on the real training patches and the synthetic ones `made`, in folder `name`.

    Chosen and calibrated by real validation patches. Raises UsageError naming an image where it should not be.
    """
    options = request.options.classifier
    require_no_leak([*real, *made])
    ihc = [replace(patch, he=None) for patch in real]
    drawn = options.patches if options.augment else options.patches.model_copy(update={"augment": None})
    still = options.patches.model_copy(update={"augment": None, "crops": crops_that_fit(of_split(ihc, "val"), request)})
    written = drawn.model_copy(update={"crops": 1, "mpp_in": drawn.mpp_out})
    added = PatchSource(made, written) if made else None
    sources = Sources(
        StudyTiles("train", PatchSource(of_split(ihc, "train"), drawn), added, options.seed),
        StudyTiles("val", PatchSource(of_split(ihc, "val"), still)),
    )
    words = f"{data_words(request, real)}; {len(made)} accepted synthetic tiles"
    card = study_card(request, name, drawn.mpp_out, words)
    folder, init = request.out / name, request.options.init
    asked = ClassifierRequest(
        sources, card, request.options.architecture, options, folder, init=Path(init) if init else None,
        resume=start(folder, name), device=request.device,
        show=lambda stage, done, total: show(f"{name}: {stage}", done, total),
    )  # fmt: skip
    return train_classifier(asked)


def crops_that_fit(patches: Sequence[Patch], request: StudyRequest) -> int:
    """Return how many tiles that do not overlap fit into the smallest patch, as many as are wanted at most."""
    side = side_in(request.options.classifier.patches)
    return min(len(tile_boxes(image_size(patch.path), side, request.options.tiles_per_patch)) for patch in patches)


def stainer(request: StudyRequest, real: Sequence[Patch], show: Show) -> Manifest:
    """Train a stainer on the training pairs; it is judged, not chosen, by the validation pairs."""
    options, mpp = request.options.stainer, request.options.classifier.patches.mpp_in
    require_no_leak(real)
    cut = PatchOptions(
        tile_px=options.crop_px, mpp_in=mpp, mpp_out=mpp, crops=1, scale=(1.0, 1.0), augment=PLAIN, seed=options.seed
    )
    still = cut.model_copy(update={"augment": None, "tile_px": max(options.crop_px, LEAST_STAINER_PX)})
    card = study_card(request, STAINER, mpp, data_words(request, real))
    folder = request.out / STAINER
    asked = StainerRequest(
        StudyTiles("train", PatchSource(of_split(real, "train"), cut)),
        StudyTiles("val", PatchSource(of_split(real, "val"), still)), card, options, folder,
        resume=start(folder, STAINER), device=request.device, workers=request.options.classifier.workers,
        show=lambda stage, done, total: show(f"stainer: {stage}", done, total),
    )  # fmt: skip
    return train_stainer(asked)


def start(folder: Path, name: str) -> bool:
    """Return whether a training in `folder` was begun and can go on; weights that it left unfinished are deleted."""
    for ending in ("json", "safetensors"):
        (folder / f"{name}.{ending}").unlink(missing_ok=True)
    return (folder / "checkpoint.pt").is_file()


def study_card(request: StudyRequest, name: str, mpp: float, words: str) -> ModelCard:
    """Return the card of weights that the study trains on what `words` say, at `mpp` um/px.

    Phantoms are no real tissue, and neither is what a stainer makes of them, whatever it was trained on itself.
    """
    origin: Origin = "phantoms" if request.data == PHANTOMS else "real tissue"
    marker = "HER2" if name == STAINER else None
    return ModelCard(name=name, mpp=mpp, licence=request.licence, training_data=words, marker=marker, trained_on=origin)


def data_words(request: StudyRequest, real: Sequence[Patch]) -> str:
    """Return what the training pairs are, for the card."""
    train = of_split(real, "train")
    slides = len({patch.slide for patch in train})
    source = "synthetic tissue only: painted phantom pairs" if request.data == PHANTOMS else Path(request.data).name
    return f"{source}: {len(train)} training patches of {slides} slides, in a study"
