"""The command line as a process, and the runs that several tests look at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide
from wsi_pipeline.training.phantom.options import ArtefactOptions, Island, TissueOptions

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "wsi_pipeline.cli.main"]
SERIAL = ("--set", "engine.executor=serial")
SMALL_REGIONS = ("--set", "tiling.region_tiles=1")
SAMPLES = ("null", "ultralow", "1plus", "2plus", "3plus", "heterogeneous", "he")


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code, its words, and the run folder it was asked for."""

    code: int
    stdout: str
    stderr: str
    out: Path

    @cached_property
    def result(self) -> dict[str, Any]:
        """The record in the run folder."""
        return json.loads((self.out / "result.json").read_text(encoding="utf-8"))

    def table(self, name: str) -> dict[str, np.ndarray]:
        """Return a parquet table of the run folder as columns."""
        table = pq.read_table(self.out / name)
        return {column: table[column].to_numpy() for column in table.column_names}

    def levels(self, name: str) -> list[np.ndarray]:
        """Return the levels of a map, (H, W) or (H, W, 3), full size first."""
        group = zarr.open_group(self.out / "maps" / f"{name}.ome.zarr", mode="r", zarr_format=2)
        paths = [entry["path"] for entry in group.attrs["multiscales"][0]["datasets"]]
        arrays = [np.asarray(group[path]) for path in paths]
        return [np.moveaxis(array, 0, -1) if len(array) > 1 else array[0] for array in arrays]

    def contents(self) -> dict[str, Any]:
        """Return the record less what may differ between two runs of the same work."""
        record = json.loads(json.dumps(self.result))
        for name in ("engine", "seconds"):
            del record["provenance"][name]
        del record["provenance"]["settings"]["engine"]
        return record


Cli = Callable[..., Outcome]


def environment() -> dict[str, str]:
    """Return the environment of a command: this checkout's code, no weights of the user, threads for two processors."""
    kept = "WSI_HER2_CACHE"
    settings = {name: value for name, value in os.environ.items() if name == kept or not name.startswith("WSI_HER2_")}
    own = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return settings | own | {"WSI_HER2_WEIGHTS": str(REPOSITORY / "no weights of the user")}


def run_command(*words: Any, out: Path, folder: Path | None = None, seconds: float = 600) -> Outcome:
    """Run `wsi-her2 WORDS` to its end and return what it left; `out` is where its results should be.

    `seconds` ends what hangs; it is no target, for a slow machine without AVX-512 needs minutes for a generator.
    """
    command = [*COMMAND, *(str(word) for word in words)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=seconds, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr, out)


@pytest.fixture(scope="session")
def wsi_her2() -> Cli:
    """Return what runs `wsi-her2` with any words."""
    return run_command


@pytest.fixture(scope="session")
def score() -> Cli:
    """Return what runs `wsi-her2 run SLIDE -o OUT` with further words, one region after another in one process."""

    def run(slide: Path, out: Path, *words: Any, serial: bool = True) -> Outcome:
        return run_command("run", slide, "-o", out, *words, *(SERIAL if serial else ()), out=out)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Yield what starts `wsi-her2` in a process group of its own, as a terminal does, and does not wait.

    What a failed test leaves running is killed.
    """
    begun: list[subprocess.Popen[str]] = []

    def begin(*words: Any) -> subprocess.Popen[str]:
        run = subprocess.Popen(
            [*COMMAND, *(str(word) for word in words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(), start_new_session=True,
        )  # fmt: skip
        begun.append(run)
        return run

    yield begin
    for run in begun:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()


@pytest.fixture(scope="session")
def sample_run(samples: Path, score: Cli, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Outcome]:
    """Return what scores a committed sample once with --json and remembers the outcome."""
    folder = tmp_path_factory.mktemp("samples")
    known: dict[str, Outcome] = {}

    def outcome(name: str) -> Outcome:
        if name not in known:
            slide = samples / f"phantom_{name}.svs"
            known[name] = score(slide, folder / name, "--json", serial=name != "heterogeneous")
        return known[name]

    return outcome


@pytest.fixture(scope="session")
def oracle(samples: Path, score: Cli, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return the serial run of a sample cut into one region per tile, which every other way of working must equal."""
    out = tmp_path_factory.mktemp("oracle") / "serial"
    outcome = score(samples / "phantom_heterogeneous.svs", out, *SMALL_REGIONS)
    assert outcome.code == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="session")
def island_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide of 0 cells with one island of 3+, upper right; neither square nor symmetric, mpp 0.25 x 0.26."""
    options = PhantomOptions(
        name="island", seed=31, width=2430, height=1613, mpp_x=0.25, mpp_y=0.26,
        island=Island(x_um=428.0, y_um=131.0, share=0.12), artefacts=ArtefactOptions(dust=0),
    )  # fmt: skip
    return write_slide(make_phantom(options), tmp_path_factory.mktemp("island") / "island.tif")


@pytest.fixture(scope="session")
def two_piece_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide of two pieces of tissue side by side; one holds the only 3+ cells."""
    options = PhantomOptions(
        name="pieces", seed=8, width=3630, height=1511, mix={"0": 0.4, "1": 0.6},
        island=Island(x_um=227.0, y_um=189.0, share=0.3), artefacts=ArtefactOptions(dust=0),
        tissue=TissueOptions(pieces=2, rotation_deg=90),  # upright ellipses, or the gap would be closed as a cleft
    )  # fmt: skip
    return write_slide(make_phantom(options), tmp_path_factory.mktemp("pieces") / "pieces.svs")


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Outcome, Outcome], None]:
    """Return what holds two runs against each other: record, tables, maps, objects, picture."""

    def check(one: Outcome, other: Outcome) -> None:
        assert other.contents() == one.contents()
        for name in sorted(path.name for path in one.out.glob("*.parquet")):
            ours, theirs = one.table(name), other.table(name)
            assert list(ours) == list(theirs)
            for column, values in ours.items():
                np.testing.assert_array_equal(theirs[column], values, err_msg=f"{name}: {column}")
        for name in sorted(path.name.removesuffix(".ome.zarr") for path in (one.out / "maps").iterdir()):
            levels = one.levels(name)
            assert len(levels) == len(other.levels(name))
            for ours, theirs in zip(levels, other.levels(name), strict=True):
                np.testing.assert_array_equal(theirs, ours, err_msg=name)
        for name in sorted([*(path.name for path in one.out.glob("*.geojson.gz")), "overlay.png"]):
            assert (other.out / name).read_bytes() == (one.out / name).read_bytes(), name
        assert files(other.out) == files(one.out)

    return check


def files(folder: Path) -> set[str]:
    """Return the relative paths of all files in `folder`, hidden ones too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
