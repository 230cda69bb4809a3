"""Which weights a run uses: those named, or the best of the first folder that holds any of the kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from wsi_pipeline.errors import UsageError, WeightsError
from wsi_pipeline.models.manifest import ARCHITECTURES, CLASSIFIERS, Architecture, read_manifest
from wsi_pipeline.models.registry import Weights, find_weights, weights_folders

Kind = Literal["stainer", "classifier"]

FULL_AND_LIGHT: dict[Kind, tuple[Architecture, Architecture]] = {
    "stainer": ("pspstain", "pspstain-light"),
    "classifier": ("ihcnet", "ihcnet-light"),
}


def choose_weights(kind: Kind, wanted: str, named_folder: Path | None, *, prefer_full: bool) -> Weights | None:
    """Return the weights that `wanted` ("auto", "none" or a name) means, or None for none.

    "auto" looks in the folders of `weights_folders` one after another; the first that holds any of this kind decides,
    there the full architecture or the light one by `prefer_full`, and the other one where it is alone. A broken
    manifest is passed over only where a sound one of the kind lies beside it.
    Raises UsageError when several fit or a name is of the other kind, WeightsError for missing or broken ones.
    """
    if wanted == "none":
        return None
    if wanted != "auto":
        return _named(kind, wanted, named_folder)
    for folder in weights_folders(named_folder):
        found = _of_kind(kind, folder)
        if found:
            return _best(kind, found, folder, prefer_full=prefer_full)
    return None


def _named(kind: Kind, name: str, folder: Path | None) -> Weights:
    """Return the weights called `name`, which must be of this kind."""
    found = find_weights(name, folder)
    architecture = found.manifest.architecture
    if architecture not in FULL_AND_LIGHT[kind]:
        is_ = "a classifier of IHC tiles" if architecture in CLASSIFIERS else "a stainer of H&E"
        raise UsageError(f"--{kind} {name}", f"{architecture} is {is_}", "wsi-her2 models list shows what there is")
    return found


def _of_kind(kind: Kind, folder: Path) -> list[Weights]:
    """Return the folder's weights of this kind, sorted by name; raise the first failure where only broken ones are."""
    found: list[Weights] = []
    broken: list[WeightsError] = []
    for path in sorted(folder.glob("*.json")):
        try:
            manifest = read_manifest(path)
        except WeightsError as error:
            if _may_be(kind, path):
                broken.append(error)
            continue
        if manifest.architecture in FULL_AND_LIGHT[kind]:
            found.append(Weights(manifest, folder))
    if broken and not found:
        raise broken[0]
    return found


def _may_be(kind: Kind, path: Path) -> bool:
    """Return whether a broken manifest may mean weights of this kind: it says so, or tensors lie beside it."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        content = None
    said = content.get("architecture") if isinstance(content, dict) else None
    if said in ARCHITECTURES:
        return said in FULL_AND_LIGHT[kind]
    return path.with_suffix(".safetensors").exists()


def _best(kind: Kind, found: list[Weights], folder: Path, *, prefer_full: bool) -> Weights:
    """Return the only weights of the preferred architecture, or of the other one. Raises UsageError for several.

    Stainers of other markers count only where there is no other.
    """
    full, light = FULL_AND_LIGHT[kind]
    preferred = full if prefer_full else light
    found = [weights for weights in found if weights.manifest.stains_her2 is not False] or found
    fitting = [weights for weights in found if weights.manifest.architecture == preferred] or found
    if len(fitting) > 1:
        names = ", ".join(weights.manifest.name for weights in fitting)
        problem = f"{folder} holds several {fitting[0].manifest.architecture}: {names}"
        raise UsageError(f"--{kind} auto", problem, f"choose one with --{kind} NAME")
    return fitting[0]
