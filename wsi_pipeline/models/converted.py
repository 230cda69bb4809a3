"""Classifiers in OpenVINO's form: made once for a machine, kept, and run without torch.

Importing torch and torchvision and converting a network take every worker several seconds; reading what was converted
takes a tenth of one. What is kept may be deleted at any time: it is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsi_pipeline.errors import OutputError, WeightsError
from wsi_pipeline.models.fixture_tiles import difference_problem, fixture_tiles, glass_tile
from wsi_pipeline.models.head import Head, head_maps
from wsi_pipeline.models.manifest import Manifest, manifest_json
from wsi_pipeline.models.openvino_backend import CompiledNetwork
from wsi_pipeline.models.registry import Weights
from wsi_pipeline.models.runtime import Runtime
from wsi_pipeline.models.tile_input import tile_input

VARIABLE = "WSI_HER2_CACHE"
"""Environment variable that names the folder where converted networks are kept."""

CONTENTS, HEAD, TRUNK = "contents.json", "head.npz", "trunk.xml"
PROGRAM = "wsi_pipeline.models.conversion"
REFUSED = 3
"""Exit code of the program when the weights are at fault; what is wrong with them is then its last line, as JSON."""

SOURCES = ("conversion.py", "head.py", "ihcnet.py", "light_ihcnet.py")
"""What decides, beside the weights and OpenVINO, how a converted network looks."""

UNFINISHED = ".wsi-her2-converting-"
"""How the folders begin in which forms are made."""

STALE_S = 3600.0
"""How old an unfinished form is, s, when whoever made it must have been killed: the longest conversion takes 20 s."""

SHORT_TOLERANCE = 0.2
"""How far bf16 may be from a fixture's answers, as a share of the largest; 0.05 of their spread was measured."""


class ConvertedAnswers(NamedTuple):
    """What a classifier says about B tiles, float32: `logits` (B, 4), and `features` (B, C, h, w) before pooling."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32]


class ConvertedClassifier:
    """A classifier in OpenVINO, asked in batches of one size; the answer for a tile does not depend on the others."""

    def __init__(self, weights: Weights, runtime: Runtime, batch_tiles: int) -> None:
        """Read or make the converted form of `weights`, and see that it answers as the manifest says.

        Raises WeightsError, UsageError (a precision that is not there).
        """
        self._manifest = weights.manifest
        weights.read()  # for its hash: a file that was changed is not the one that was converted
        with converted_files(weights, batch_tiles) as folder:
            self._trunk = CompiledNetwork(folder / TRUNK, runtime.precision)
            self.head = _read_head(folder / HEAD)
        self._batch_tiles = batch_tiles
        problem = self._fixture_problem(exact=runtime.precision == "fp32")
        if problem:
            words = f"in OpenVINO, {runtime.precision}, {problem}"
            raise WeightsError(self._manifest.name, words, "use --backend torch")
        self._glass = self.answer(glass_tile(self._manifest)).features.mean(axis=(2, 3))[0]
        self.glass_margins = self.head.margins(self._glass[np.newaxis])[0]
        """(3,) float32, logits: the margins of glass, which every value of a map includes."""

    def answer(self, tiles: NDArray[np.uint8]) -> ConvertedAnswers:
        """Return logits and features of `tiles`, (B, tile_px, tile_px, 3) uint8 RGB; B may be anything.

        Raises UsageError for tiles of another shape than the manifest's.
        """
        starts = range(0, max(len(tiles), 1), self._batch_tiles)
        features = np.concatenate([self._batch(tiles[start : start + self._batch_tiles]) for start in starts])
        features = features[: len(tiles)]
        return ConvertedAnswers(self.head.logits(features.mean(axis=(2, 3))), features)

    def maps(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what spoke for each ordinal margin, (B, 3, h, w), logits, of `features` (B, C, h, w)."""
        return head_maps(self.head, features, self._glass)

    def _batch(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of one batch, filled up to its fixed size."""
        inputs = tile_input(tiles, self._manifest)
        missing = self._batch_tiles - len(inputs)
        if missing:
            inputs = np.concatenate([inputs, np.zeros((missing, *inputs.shape[1:]), np.float32)])
        return self._trunk(inputs)

    def _fixture_problem(self, *, exact: bool) -> str:
        """Return how the answers differ from those in the manifest, or nothing."""
        fixture = self._manifest.fixture
        found = self.answer(fixture_tiles(fixture.seed, fixture.height_px, fixture.width_px)).logits.astype(np.float64)
        largest = float(np.abs(np.array(fixture.expected)).max())
        return difference_problem(found, fixture, fixture.tolerance if exact else SHORT_TOLERANCE * largest)


def kept_folder() -> Path:
    """Return where converted networks are kept: WSI_HER2_CACHE, else `.wsi-her2/converted` in the home folder."""
    named = os.environ.get(VARIABLE, "").strip()
    return Path(named).expanduser() if named else Path.home() / ".wsi-her2" / "converted"


@contextmanager
def converted_files(weights: Weights, batch_tiles: int) -> Iterator[Path]:
    """Yield the folder of the converted form of `weights`, made now where it is not kept yet.

    Where nothing can be kept it goes again with the context. Raises WeightsError when it cannot be made.
    """
    try:
        keep_converted(weights, batch_tiles)
    except OutputError:
        with tempfile.TemporaryDirectory(prefix="wsi-her2-converted-") as name:
            _convert(weights, batch_tiles, Path(name))
            yield Path(name)
        return
    yield _place_of(weights.manifest, batch_tiles)


def keep_converted(weights: Weights, batch_tiles: int) -> None:
    """Make the converted form of `weights` and keep it, if it is not there yet.

    Raises WeightsError when it cannot be made, OutputError when nothing can be kept.
    """
    kept = _place_of(weights.manifest, batch_tiles)
    if _is_whole(kept):
        return
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        _clear_stale(kept.parent)
        making = Path(tempfile.mkdtemp(dir=kept.parent, prefix=UNFINISHED))
    except OSError as error:
        raise OutputError(kept.parent, f"cannot be written: {error.strerror or error}", f"set {VARIABLE}") from error
    try:
        _convert(weights, batch_tiles, making)
        if kept.exists() and not _is_whole(kept):
            shutil.rmtree(kept, ignore_errors=True)
        with suppress(OSError):  # another process was quicker
            making.rename(kept)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _clear_stale(folder: Path) -> None:
    """Delete what killed processes left unfinished, and nothing else that may lie in a folder that somebody named."""
    for left in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left, ignore_errors=True)


def _place_of(manifest: Manifest, batch_tiles: int) -> Path:
    """Return where the converted form belongs; another manifest, OpenVINO or version of ours has another place."""
    told = hashlib.sha256(manifest_json(manifest))
    told.update(f"openvino {version('openvino')}, batches of {batch_tiles}".encode())
    for name in SOURCES:
        told.update(Path(__file__).with_name(name).read_bytes())
    return kept_folder() / f"{manifest.name}-{told.hexdigest()[:16]}"


def _is_whole(folder: Path) -> bool:
    """Tell whether the files are there as they were written."""
    try:
        contents = json.loads((folder / CONTENTS).read_bytes())
        return bool(contents) and all(_sha256(folder / name) == wanted for name, wanted in contents.items())
    except (OSError, ValueError):
        return False


def _convert(weights: Weights, batch_tiles: int, folder: Path) -> None:
    """Have another process, which needs torch, convert `weights` into `folder`. Raises WeightsError."""
    name = weights.manifest.name
    words = [sys.executable, "-m", PROGRAM, name, str(weights.folder), str(batch_tiles), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - this very program
    if done.returncode == REFUSED:
        raise WeightsError(*json.loads(done.stdout.splitlines()[-1]))
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WeightsError(name, f"OpenVINO cannot take it ({reason})", "use --backend torch")
    contents = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / CONTENTS).write_text(json.dumps(contents), encoding="utf-8")


def _read_head(path: Path) -> Head:
    """Return the head's matrices."""
    with np.load(path) as arrays:
        layers = range(len(arrays.files) // 2)
        return Head(*(tuple(arrays[f"{kind}_{number}"] for number in layers) for kind in ("weight", "bias")))


def _sha256(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
