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


def save_weights(
    state: Mapping[str, Tensor], architecture: Architecture, card: ModelCard, folder: Path, *, half: bool = False
) -> Manifest:
    """Write `state` (the plain form of `architecture`) and its manifest to `folder`, and return the manifest.

    `half`: matrices and kernels take half the space, rounded to float16. The fixture outputs are computed here, from
    what is written. Raises WeightsError for tensors that do not belong to the architecture or a name that is taken,
    OutputError when the folder cannot be written.
    """
    refuse_taken(card.name, folder)
    specs = plain_specs(architecture)
    problem = first_problem(state, specs)
    if problem:
        raise WeightsError(card.name, f"is not {architecture}: {problem}")
    stored = {key: _stored(state[key], half=half) for key in specs}
    problem = first_problem(stored, specs)
    if problem:
        raise WeightsError(card.name, f"does not fit into float16: {problem}")
    content = save(stored)
    draft = Manifest(
        **card.model_dump(),
        **PREPARATION[architecture]._asdict(),
        architecture=architecture,
        file=f"{card.name}.safetensors",
        sha256=hashlib.sha256(content).hexdigest(),
        fixture=Fixture(seed=0, height_px=32, width_px=32, expected=(), tolerance=1.0),
    )
    network = network_from(in_float32(stored), architecture, features_relu=card.features_relu)
    manifest = draft.model_copy(update={"fixture": make_fixture(network, draft)})
    _write_whole(folder / manifest.file, content)
    _write_whole(folder / f"{card.name}.json", manifest_json(manifest))
    return manifest


def refuse_taken(name: str, folder: Path) -> None:
    """Raise WeightsError when `folder` holds weights called `name` already."""
    taken = folder / f"{name}.json"
    if taken.exists():
        raise WeightsError(name, f"there are weights of this name: {taken}", "choose another name, or delete them")


def in_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state` as it is computed with: fractions in float32, counts as they are."""
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def rounded(state: Mapping[str, Tensor], *, half: bool) -> dict[str, Tensor]:
    """Return `state` in float32 with exactly the values that `save_weights` writes."""
    return in_float32({key: _stored(tensor, half=half) for key, tensor in state.items()})


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    """Return `tensor` as it is written, in memory of its own: float32, counts as integers.

    With `half`, what has two or more dimensions is float16; biases and statistics are few, and float16 could not hold
    some of them (variances below 6e-8 or above 65504).
    """
    kind = tensor.float() if tensor.is_floating_point() else tensor.long()
    if half and tensor.is_floating_point() and tensor.ndim > 1:
        kind = kind.half()
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
