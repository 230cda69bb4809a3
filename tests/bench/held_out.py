"""Measure weights on material that no training saw, and print the tables of docs/validation.md.

The classifier: phantom tiles of held-out seeds, stain vectors and glass. The stainer: held-out phantom pairs and, where
--data names the folder, real pairs (her2/pairs_bci, her2/pairs_mist), each beside three baselines: the H&E itself,
linear stain transfer fitted on training phantoms, and the same fitted on the other real pairs of the set (the pair's
slide left out).

Usage: python tests/bench/held_out.py [--classifier NAME] [--stainer NAME] [--weights FOLDER] [--data DIR]
       [--tiles 800] [--pairs 96] [--write]

--write adds the figures on phantoms and on real pairs to the manifests.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from wsi_pipeline.export.atomic import write_atomic
from wsi_pipeline.models.classify import TileRunner
from wsi_pipeline.models.load import load_model
from wsi_pipeline.models.manifest import HER2_CLASSES, manifest_json, read_manifest
from wsi_pipeline.models.pspstain import Generator
from wsi_pipeline.models.registry import find_weights
from wsi_pipeline.models.runtime import Runtime
from wsi_pipeline.scoring.agreement import AgreementOptions, Estimate, agreement, confusion_by_patient
from wsi_pipeline.training.data.domain import TRAINING
from wsi_pipeline.training.data.layouts import read_dataset
from wsi_pipeline.training.data.patches import PatchOptions, PatchSource
from wsi_pipeline.training.data.phantoms import PhantomSource, PhantomTileOptions
from wsi_pipeline.training.data.records import Source
from wsi_pipeline.training.stainer.baselines import LinearStain, identity
from wsi_pipeline.training.stainer.metrics import MEASURES
from wsi_pipeline.training.stainer.options import PhantomPairOptions, ValidationOptions
from wsi_pipeline.training.stainer.pairs import pairs, spread
from wsi_pipeline.training.stainer.validation import Stain, measure, staining, write_grid

PHANTOM_PX = 768
"""Small phantoms: more laboratories among equally many tiles."""

PER_PHANTOM = 4
BATCH_TILES = 32
FITTED_PAIRS = 48
"""Training phantoms' pairs behind the linear baseline."""

PAIR_CROPS = 9
"""Tiles of 256 px per real pair, spread evenly."""

Figures = dict[str, float]


class Measured(NamedTuple):
    """What a classifier said of held-out phantom tiles."""

    labels: np.ndarray
    answers: np.ndarray
    groups: list[str]

    def confusion(self) -> np.ndarray:
        """Return the matrix (4, 4): true class by row, answer by column."""
        return confusion_by_patient(self.labels, self.answers, self.groups).sum(axis=0).astype(int)

    def estimates(self) -> dict[str, Estimate]:
        """Return every statistic with an interval from resampled phantoms."""
        return agreement(confusion_by_patient(self.labels, self.answers, self.groups), AgreementOptions())


def held_out_tiles(tiles: int) -> PhantomSource:
    """Return phantom tiles that no training saw, as painted."""
    options = PhantomTileOptions(
        tiles=tiles, split="test", phantom_px=PHANTOM_PX, per_phantom=PER_PHANTOM, augment=None
    )
    return PhantomSource(options)


def classify(name: str, folder: Path | None, source: PhantomSource) -> Measured:
    """Return what the classifier says of the source's tiles."""
    runner = TileRunner(load_model(name, folder), Runtime(), BATCH_TILES)
    labels, answers, groups = [], [], []
    for start in range(0, len(source), BATCH_TILES):
        samples = [source.sample(k, 0) for k in range(start, min(start + BATCH_TILES, len(source)))]
        answers.extend(runner.answer(np.stack([sample.rgb for sample in samples])).logits.argmax(axis=1).tolist())
        labels.extend(sample.label for sample in samples)
        groups.extend(sample.group for sample in samples)
    return Measured(np.array(labels), np.array(answers), groups)


def print_classifier(name: str, found: Measured) -> Figures:
    """Print the figures of a classifier and return those for its manifest."""
    print(f"\n{name}: {len(found.labels)} tiles of {len(set(found.groups))} held-out phantoms\n")
    print("| figure | value | 95 % interval over phantoms |\n|---|---|---|")
    figures: Figures = {"held-out phantom tiles": len(found.labels)}
    for figure, value in found.estimates().items():
        if value.value is None:
            continue
        low, high = (f"{limit:.3f}" if limit is not None else "-" for limit in (value.low, value.high))
        print(f"| {figure.replace('|', 'against')} | {value.value:.3f} | {low} to {high} |")
        figures[f"held-out phantoms: {figure}"] = round(value.value, 4)
    print("\n| true class | " + " | ".join(f"called {one}" for one in HER2_CLASSES) + " |\n|---|---|---|---|---|")
    for one, row in zip(HER2_CLASSES, found.confusion(), strict=True):
        print(f"| {one} | " + " | ".join(str(count) for count in row) + " |")
    return figures


def print_stainer(
    name: str, title: str, source: Source, methods: dict[str, Stain], grid: Path | None, most: int = 1000
) -> Figures:
    """Print how a stainer and its baselines do on a source, write a sample grid, and return the figures."""
    table, rows = measure(source, methods, ValidationOptions(most=most))
    print_table(name, title, len(spread(len(source), most)), table)
    if grid is not None:
        titles = ("H&E", "real IHC", *(method for method in methods if method != "identity"))
        write_grid(grid / f"{title.replace(' ', '_')}.png", rows, titles)
    return {
        f"{title}: {measure_name} ({method})": round(values[measure_name], 4)
        for method, values in table.items()
        for measure_name in MEASURES
        if math.isfinite(values[measure_name])
    }


def print_table(name: str, title: str, count: int, table: dict[str, Figures]) -> None:
    """Print one row per method."""
    print(f"\n{name} on {title}: {count} pairs of 256 px\n")
    print("| method | SSIM | PSNR, dB | DAB Pearson | DAB KL, nats |\n|---|---|---|---|---|", flush=True)
    for method, values in table.items():
        print(f"| {method} | " + " | ".join(f"{values[one]:.3f}" for one in MEASURES[:4]) + " |")


def fitted_on_phantoms() -> LinearStain:
    """Return linear stain transfer as training phantoms teach it."""
    options = PhantomPairOptions(
        tiles=FITTED_PAIRS, phantom_px=PHANTOM_PX, per_phantom=PER_PHANTOM, domain=TRAINING, augment=None
    )
    return LinearStain.fit(pairs(PhantomSource(options), range(FITTED_PAIRS)))


class LeftOut:
    """Linear stain transfer of one slide's pairs, fitted on those of all other slides of the set."""

    def __init__(self, source: PatchSource) -> None:
        """Fit once per slide; the H&E's pixels tell which slide it is of."""
        everything = list(pairs(source, range(len(source))))
        fits = {
            group: LinearStain.fit(pair for pair in everything if pair.group != group)
            for group in {pair.group for pair in everything}
        }
        self._fit_of = {pair.he.tobytes(): fits[pair.group] for pair in everything}

    def __call__(self, he: np.ndarray) -> np.ndarray:
        """Return the stained image of an H&E image of the source."""
        return self._fit_of[he.tobytes()](he)


def measure_stainer(arguments: argparse.Namespace) -> Figures:
    """Print every table of a stainer."""
    name = arguments.stainer
    generator = cast("Generator", load_model(name, arguments.weights).network)
    virtual, on_phantoms = staining(generator, "cpu"), fitted_on_phantoms()
    base: dict[str, Stain] = {"identity": identity, "linear, fitted on phantoms": on_phantoms}
    options = PhantomPairOptions(
        tiles=arguments.pairs, split="test", tile_px=256, least_cells=10, phantom_px=PHANTOM_PX,
        per_phantom=PER_PHANTOM, augment=None,
    )  # fmt: skip
    figures = print_stainer(
        name, "held-out phantoms", PhantomSource(options), base | {"virtual": virtual}, arguments.grids
    )
    for title, place in (("BCI", "pairs_bci"), ("MIST", "pairs_mist")):
        folder = arguments.data / "her2" / place if arguments.data else None
        if folder is None or not folder.is_dir():
            continue
        source = PatchSource(read_dataset(folder), PatchOptions(crops=PAIR_CROPS, augment=None))
        methods = base | {"linear, fitted on the other slides": LeftOut(source), "virtual": virtual}
        figures |= print_stainer(name, f"real pairs of {title}", source, methods, arguments.grids)
    return figures


def add_metrics(name: str, folder: Path | None, figures: Figures) -> None:
    """Add figures to the manifest of some weights."""
    path = find_weights(name, folder).folder / f"{name}.json"
    manifest = read_manifest(path)
    metrics = manifest.metrics | figures
    write_atomic(path, manifest_json(manifest.model_copy(update={"metrics": metrics})))


def main(words: Sequence[str] | None = None) -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", help="weights of a classifier")
    parser.add_argument("--stainer", help="weights of a stainer")
    parser.add_argument("--weights", type=Path, help="folder in which they are looked for first")
    parser.add_argument("--data", type=Path, help="folder with real pairs")
    parser.add_argument("--grids", type=Path, help="folder for pictures of the pairs")
    parser.add_argument("--tiles", type=int, default=800, help="held-out phantom tiles")
    parser.add_argument("--pairs", type=int, default=96, help="held-out phantom pairs")
    parser.add_argument("--write", action="store_true", help="add the figures to the manifests")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    found: dict[str, Figures] = {}
    if arguments.classifier:
        measured = classify(arguments.classifier, arguments.weights, held_out_tiles(arguments.tiles))
        found[arguments.classifier] = print_classifier(arguments.classifier, measured)
    if arguments.stainer:
        found[arguments.stainer] = measure_stainer(arguments)
    for name, figures in found.items():
        if arguments.write:
            add_metrics(name, arguments.weights, figures)


if __name__ == "__main__":
    main()
