"""Which networks a run uses, with which weights, and how they are run."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from wsi_pipeline.config import Settings
from wsi_pipeline.errors import OutputError, WeightsError
from wsi_pipeline.flows.cell_finder import CLASSICAL, CellFinder, choose_cell_finder
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.models.choosing import Kind, choose_weights
from wsi_pipeline.models.extra import require_models_extra
from wsi_pipeline.models.manifest import Architecture, Manifest
from wsi_pipeline.models.registry import Weights
from wsi_pipeline.models.runtime import OPENVINO_BATCH, Runtime, choose_runtime, cuda_numbers

FULL_NETWORK: dict[Kind, Architecture] = {"stainer": "pspstain", "classifier": "ihcnet"}
"""Architecture that a machine needs a GPU (or OpenVINO, for the classifier) to run in reasonable time."""

NEEDED = {
    "stainer": "the slide is H&E, and staining it virtually",
    "classifier": "the tile classifier",
}
MISSING = {
    "stainer": "the slide is H&E, and there are no weights of a stainer: wsi-her2 models import adds a checkpoint",
    "classifier": "there are no weights of a tile classifier: wsi-her2 models import adds a checkpoint",
}


class Network(NamedTuple):
    """What a worker needs to load a network; small, picklable and hashable, so that it is loaded once per process."""

    name: str
    folder: Path
    runtime: Runtime


@dataclass(frozen=True)
class Chosen:
    """A network of this run and its manifest."""

    network: Network
    manifest: Manifest
    gpus: tuple[int, ...]
    """CUDA devices of this machine that share its work."""

    def sentence(self, kind: str) -> str:
        """Return which weights run where, and why there, in one line."""
        runtime = self.network.runtime
        how = f"{runtime.backend}, {runtime.device}, {runtime.precision}: {runtime.why}"
        return f"{kind}: {self.manifest.name} ({self.manifest.architecture}; {how})"

    def record(self) -> dict[str, Any]:
        """Return what the result says about it."""
        manifest = self.manifest.model_dump(mode="json", exclude={"fixture", "format"})
        return manifest | {"runtime": self.network.runtime.describe()}


@dataclass(frozen=True)
class Networks:
    """The networks of a run; None where the run does without, and why."""

    stainer: Chosen | None = None
    classifier: Chosen | None = None
    missing: tuple[str, ...] = ()
    """Sentences on what would have been used, had it been there."""
    cells: CellFinder = CLASSICAL

    @property
    def gpus(self) -> tuple[int, ...]:
        """CUDA devices of this machine that the run uses."""
        return tuple(sorted({number for chosen in self.chosen().values() for number in chosen.gpus}))

    def chosen(self) -> dict[str, Chosen]:
        """Return kind -> network of those that are used."""
        both = {"stainer": self.stainer, "classifier": self.classifier}
        return {kind: found for kind, found in both.items() if found is not None}

    def weights(self) -> dict[str, str]:
        """Return kind -> SHA-256 of the weights of all that are used, the network of cells among them."""
        found = {kind: chosen.manifest.sha256 for kind, chosen in self.chosen().items()}
        return found | ({"cells": self.cells.weights.sha256} if self.cells.weights is not None else {})


def choose_networks(settings: Settings, folder: Path | None, stain: str) -> Networks:
    """Return the networks for a slide of this `stain`; weights are looked for in `folder` first.

    Raises WeightsError when something that was asked for by name, or cannot be done without, is not there; UsageError
    for weights of the other kind and for a choice that only a person can make.
    """
    missing: list[str] = []
    stainer = _find("stainer", settings, folder, missing) if stain == "he" else None
    wanted = settings.evidence != "cells" and (stain == "ihc" or stainer is not None)
    classifier = _find("classifier", settings, folder, missing) if wanted else None
    if settings.evidence in {"tiles", "both"} and wanted and classifier is None:
        raise WeightsError(f"evidence {settings.evidence}", missing[-1] if missing else "needs a tile classifier")
    return Networks(stainer, classifier, tuple(missing), choose_cell_finder(settings, folder))


def find_network(kind: Kind, settings: Settings, folder: Path | None) -> Chosen:
    """Return the network of this kind, which the caller cannot do without. Raises WeightsError, UsageError."""
    missing: list[str] = []
    found = _find(kind, settings, folder, missing)
    if found is None:
        raise WeightsError(f"--{kind}", missing[-1] if missing else "none was asked for, and one is needed")
    return found


def convert_ahead(networks: Networks, request: ScoreRequest) -> None:
    """Make what OpenVINO runs, if it is not kept on this machine yet, so that not every worker has to.

    Where nothing can be kept, each does. Raises WeightsError.
    """
    chosen = networks.classifier
    if chosen is None or chosen.network.runtime.backend != "openvino":
        return
    from wsi_pipeline.models.converted import keep_converted  # noqa: PLC0415 - OpenVINO is optional

    request.progress("preparing the classifier", 0, 1)
    batch_tiles = min(request.settings.models.batch_tiles, OPENVINO_BATCH)
    with suppress(OutputError):
        keep_converted(Weights(chosen.manifest, chosen.network.folder), batch_tiles)


def _find(kind: Kind, settings: Settings, folder: Path | None, missing: list[str]) -> Chosen | None:
    """Return the network of this kind, or None and a sentence in `missing`, unless it was not wanted at all."""
    options = settings.models
    wanted = getattr(options, kind)
    if wanted == "none":
        return None
    try:
        require_models_extra()
    except WeightsError as error:
        if wanted != "auto":
            raise
        missing.append(f"{NEEDED[kind]} needs {error.subject}: {error.remedy}")
        return None
    full = choose_runtime(FULL_NETWORK[kind], options)
    strong = full.device != "cpu" or full.backend == "openvino"
    weights = choose_weights(kind, wanted, folder, prefer_full=strong)
    if weights is None:
        missing.append(MISSING[kind])
        return None
    manifest = weights.manifest
    if manifest.stains_her2 is False:
        problem = f"stains {manifest.marker}, and this run is of HER2"
        raise WeightsError(f"--{kind} {manifest.name}", problem, "name a stainer of HER2, or --stainer none")
    runtime = choose_runtime(manifest.architecture, options)
    gpus = () if runtime.device == "cpu" else cuda_numbers(options)
    if gpus and settings.engine.executor == "dask":  # each GPU's worker sees that GPU only
        runtime = replace(runtime, device="cuda:0")
    return Chosen(Network(manifest.name, weights.folder, runtime), manifest, gpus)
