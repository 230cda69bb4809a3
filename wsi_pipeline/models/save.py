"""Weights on disk: tensors first, then the manifest that makes them count, each whole or absent."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from wsi_pipeline.errors import OutputError, WeightsError
from wsi_pipeline.models.architectures import PREPARATION, first_problem, network_from, plain_specs
from wsi_pipeline.models.fixture import make_fixture
from wsi_pipeline.models.manifest import Architecture, Fixture, Manifest, ModelCard, manifest_json


def save_weights(state: Mapping[str, Tensor], architecture: Architecture, card: ModelCard, folder: Path) -> Manifest:
    """Write `state` (the plain form of `architecture`) and its manifest to `folder`, and return the manifest.

    The fixture outputs are computed here. Raises WeightsError for tensors that do not belong to the architecture or
    a name that is taken, OutputError when the folder cannot be written.
    """
    refuse_taken(card.name, folder)
    problem = first_problem(state, plain_specs(architecture))
    if problem:
        raise WeightsError(card.name, f"is not {architecture}: {problem}")
    tensors = {key: _plain(state[key]) for key in plain_specs(architecture)}
    content = save(tensors)
    draft = Manifest(
        **card.model_dump(),
        **PREPARATION[architecture]._asdict(),
        architecture=architecture,
        file=f"{card.name}.safetensors",
        sha256=hashlib.sha256(content).hexdigest(),
        fixture=Fixture(seed=0, height_px=32, width_px=32, expected=(), tolerance=1.0),
    )
    network = network_from(tensors, architecture, features_relu=card.features_relu)
    manifest = draft.model_copy(update={"fixture": make_fixture(network, draft)})
    _write_whole(folder / manifest.file, content)
    _write_whole(folder / f"{card.name}.json", manifest_json(manifest))
    return manifest


def refuse_taken(name: str, folder: Path) -> None:
    """Raise WeightsError when `folder` holds weights called `name` already."""
    taken = folder / f"{name}.json"
    if taken.exists():
        raise WeightsError(name, f"there are weights of this name: {taken}", "choose another name, or delete them")


def _plain(tensor: Tensor) -> Tensor:
    """Return `tensor` in float32 (counts stay integers) in memory of its own."""
    kind = tensor.float() if tensor.is_floating_point() else tensor.long()
    return kind.detach().cpu().contiguous().clone()


def _write_whole(path: Path, content: bytes) -> None:
    """Write beside, flush to the disk, rename. Raises OutputError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(path, f"cannot be written: {error.strerror or error}", "choose another --weights") from error
