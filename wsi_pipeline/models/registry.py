"""Where weights lie: a named folder, the user's folder, the package's own. Nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.manifest import Manifest, read_manifest

VARIABLE = "WSI_HER2_WEIGHTS"
"""Environment variable that names the user's weights folder."""

REMEDY = "wsi-her2 models list shows what there is, wsi-her2 models import adds a checkpoint"


class Weights(NamedTuple):
    """A manifest and the folder it was found in."""

    manifest: Manifest
    folder: Path

    @property
    def tensors(self) -> Path:
        """The safetensors file."""
        return self.folder / self.manifest.file

    def read(self) -> bytes:
        """Return the safetensors file's content, its hash checked. Raises WeightsError."""
        name = self.manifest.name
        try:
            content = self.tensors.read_bytes()
        except FileNotFoundError as error:
            raise WeightsError(
                name, f"the tensors are missing: {self.tensors}", "import the checkpoint again"
            ) from error
        except OSError as error:
            raise WeightsError(name, f"{self.tensors} cannot be read: {error.strerror or error}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.manifest.sha256:
            raise WeightsError(
                name, f"{self.tensors} was changed: its sha256 is {found[:12]}..., not {self.manifest.sha256[:12]}...",
                "import the checkpoint again",
            )  # fmt: skip
        return content


def shipped_folder() -> Path:
    """Return the package's own weights: in an installed package, or at the top of the source tree."""
    shipped = Path(__file__).parents[1] / "_shipped" / "weights"
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "weights"


def user_folder() -> Path:
    """Return the user's own weights folder: WSI_HER2_WEIGHTS, else `.wsi-her2/weights` in the home folder."""
    named = os.environ.get(VARIABLE, "").strip()
    return Path(named).expanduser() if named else Path.home() / ".wsi-her2" / "weights"


def weights_folders(named: Path | None = None) -> tuple[Path, ...]:
    """Return the folders to look in, first come first: `named` (--weights), the user's, the package's.

    Raises WeightsError when `named` is no folder; the others may be absent.
    """
    if named is not None and not named.is_dir():
        raise WeightsError(named, "is not a folder of weights", "name the folder that holds the manifests (.json)")
    return (*((named,) if named is not None else ()), user_folder(), shipped_folder())


def manifest_paths(named: Path | None = None) -> dict[str, Path]:
    """Return name -> manifest file of all weights, sorted by name; of equal names the first folder's counts."""
    found: dict[str, Path] = {}
    for folder in weights_folders(named):
        for path in folder.glob("*.json"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find_weights(name: str, named: Path | None = None) -> Weights:
    """Return the weights called `name`. Raises WeightsError that says where they were looked for."""
    known = manifest_paths(named)
    if name not in known:
        places = ", ".join(str(folder) for folder in weights_folders(named))
        there = f"there are: {', '.join(known)}" if known else "there are no weights at all"
        raise WeightsError(name, f"no such weights in {places}; {there}", REMEDY)
    path = known[name]
    return Weights(read_manifest(path), path.parent)
