"""The batch command as a process: shared, killed, taken up again, and told what to do."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile

from tests.end_to_end.worker_processes import workers_of
from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide
from wsi_pipeline.training.phantom.options import TissueOptions

pytestmark = pytest.mark.slow

SMALL_REGIONS = ("--set", "tiling.region_tiles=1")
SERIAL = ("--set", "engine.executor=serial")

FULL = TissueOptions(tumour_fraction=0.85, fat=False, vessels=False, necrosis=False, lymphocytes=False)
"""Tissue with enough tumour cells on a small slide."""

PATIENCE_S = 300
"""Seconds for what takes ten on a machine that has nothing else to do."""


def summary(out: Path) -> dict[str, dict[str, str]]:
    """Return slide -> row of the summary."""
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def engine(out: Path) -> dict[str, Any]:
    """Return what a run says of its engine."""
    return json.loads((out / "result.json").read_text(encoding="utf-8"))["provenance"]["engine"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide that takes a second: 1009 x 787 px at 0.25 x 0.26 um."""
    options = PhantomOptions(
        name="small", seed=5, width=1009, height=787, mpp_y=0.26, mix={"2": 0.2, "3": 0.8}, tissue=FULL
    )
    return write_slide(make_phantom(options), tmp_path_factory.mktemp("small") / "small.svs")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three slides of 1387 x 1009 px, which are up to 24 regions of one tile each."""
    folder = tmp_path_factory.mktemp("drawn")
    for seed, mix in enumerate(({"0": 1.0}, {"1": 0.6, "2": 0.4}, {"2": 0.3, "3": 0.7})):
        options = PhantomOptions(
            name=f"p{seed}", seed=seed + 3, width=1387, height=1009, mpp_y=0.26, mix=mix, tissue=FULL
        )
        write_slide(make_phantom(options), folder / f"p{seed}.svs")
    return folder


@pytest.fixture
def three(drawn: Path, tmp_path: Path) -> Path:
    """Return a copy of these slides."""
    return Path(shutil.copytree(drawn, tmp_path / "slides"))


@pytest.fixture(scope="module")
def uninterrupted(
    drawn: Path, wsi_her2: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Any]:
    """Return what gives the run of a slide in a batch that nobody disturbed."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out"
    outcome = wsi_her2("batch", drawn, "-o", out, *SMALL_REGIONS, *SERIAL, out=out, seconds=PATIENCE_S)
    assert outcome.code == 0, outcome.stderr
    return lambda run: type(outcome)(0, "", "", out / run.name)


def check_same(out: Path, uninterrupted: Callable[[Path], Any], assert_same: Callable[..., None]) -> None:
    """Hold every run folder against that of an undisturbed batch, whose slides lay elsewhere."""
    runs = sorted(path.parent for path in out.glob("*/result.json"))
    assert len(runs) == 3
    for run in runs:
        ours, theirs = type(uninterrupted(run))(0, "", "", run), uninterrupted(run)
        record = json.loads((run / "result.json").read_text(encoding="utf-8"))
        assert record["slide"]["name"] == theirs.result["slide"]["name"]
        for name in ("path", "local_path"):
            record["slide"][name] = theirs.result["slide"][name]
        ours.__dict__["result"] = record
        assert_same(theirs, ours)


def outcomes(out: Path) -> list[Path]:
    return list(out.glob(".work/runs/*/.parts/journal/process_region/[0-9]*.npz"))


def wait_for(condition: Callable[[], Any], *processes: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.002)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_twice_and_run_again(
    workers: int,
    three: Path,
    start: Callable[..., Any],
    wsi_her2: Callable[..., Any],
    uninterrupted: Callable[[Path], Any],
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    how = SERIAL if workers == 0 else ("--set", f"engine.workers={workers}")
    words = ("batch", three, "-o", out, *SMALL_REGIONS, *how)
    kept = []
    for least in (4, 9):
        batch = start(*words)
        wait_for(lambda least=least: len(outcomes(out)) >= least, batch)
        os.killpg(batch.pid, signal.SIGKILL)
        batch.communicate()
        kept.append(len(outcomes(out)))
        measured = len(list(out.glob(".work/runs/*/.parts/cells-??????.npy")))
        assert measured - kept[-1] <= max(workers, 1), "no more than the regions in flight are lost"
    of_all_passes = len(list(out.glob(".work/runs/*/.parts/journal/*/[0-9]*.npz")))  # with torch, tiles are one too
    outcome = wsi_her2(*words, out=out, seconds=PATIENCE_S)
    assert outcome.code == 0, outcome.stderr
    engines = [engine(out / name) for name in ("p0", "p1", "p2")]
    assert sum(record["regions_taken_up"] for record in engines) == of_all_passes
    assert kept[-1] < sum(record["regions"] for record in engines)
    check_same(out, uninterrupted, assert_same)
    assert list((out / ".work" / "runs").iterdir()) == list((out / ".work" / "claims").iterdir()) == []


def test_two_batches_share_one_folder(
    three: Path,
    start: Callable[..., Any],
    uninterrupted: Callable[[Path], Any],
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    batches = [start("batch", three, "-o", out, *SMALL_REGIONS, *SERIAL) for _ in range(2)]
    said = [batch.communicate(timeout=PATIENCE_S)[1] for batch in batches]
    assert [batch.returncode for batch in batches] == [0, 0], said
    fresh = Counter(line.split("]")[1].split(":")[0] for words in said for line in words.splitlines() if " s)" in line)
    assert sorted(fresh.values()) == [1, 1, 1], "each slide once, by one of them"
    assert len(summary(out)) == 3
    check_same(out, uninterrupted, assert_same)


def test_a_batch_takes_over_from_one_that_was_killed_beside_it(
    three: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("batch", three, "-o", out, *SMALL_REGIONS, *SERIAL)
    first = start(*words)
    wait_for(lambda: len(outcomes(out)) >= 5, first)
    os.killpg(first.pid, signal.SIGSTOP)  # it must not finish while the second starts
    second = start(*words)
    wait_for(lambda: len(list(out.glob(".work/claims/*"))) >= 3, first, second)  # two are the first's
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    _, said = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, said
    assert [row["status"] for row in summary(out).values()] == ["scored"] * 3
    assert sum(engine(out / name)["regions_taken_up"] for name in ("p0", "p1", "p2")) >= 5


def test_a_killed_worker_does_not_end_the_batch(
    three: Path,
    start: Callable[..., Any],
    uninterrupted: Callable[[Path], Any],
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    batch = start("batch", three, "-o", out, *SMALL_REGIONS, "--set", "engine.workers=1")
    for least in (3, 8):
        wait_for(lambda least=least: len(outcomes(out)) >= least, batch)
        workers_of(batch.pid)[0].kill()
    _, said = batch.communicate(timeout=PATIENCE_S)
    assert batch.returncode == 0, said
    check_same(out, uninterrupted, assert_same)


def test_ctrl_c_keeps_what_was_done(
    three: Path, start: Callable[..., Any], wsi_her2: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("batch", three, "-o", out, *SMALL_REGIONS, "--set", "engine.workers=2")
    batch = start(*words)
    wait_for(lambda: len(outcomes(out)) >= 5, batch)
    os.killpg(batch.pid, signal.SIGINT)
    _, said = batch.communicate(timeout=PATIENCE_S)
    assert batch.returncode == 130
    assert said.splitlines()[-1] == f"wsi-her2: {out}: interrupted; what was done is kept (the same command goes on)"
    assert [row["status"] for row in summary(out).values()] == ["waiting"] * 3
    outcome = wsi_her2(*words, out=out, seconds=PATIENCE_S)
    assert outcome.code == 0, outcome.stderr
    assert sum(engine(out / name)["regions_taken_up"] for name in ("p0", "p1", "p2")) >= 5


def test_other_settings_another_file_and_again_score_once_more(
    small: Path, wsi_her2: Callable[..., Any], tmp_path: Path
) -> None:
    slides, out = tmp_path / "slides", tmp_path / "out"
    slides.mkdir()
    shutil.copy(small, slides / "a.svs")

    def run(*words: str) -> str:
        outcome = wsi_her2("batch", slides, "-o", out, *SERIAL, *words, out=out)
        assert outcome.code == 0, outcome.stderr
        return summary(out)["a.svs"]["result"]

    assert run() == "a/result.json"
    os.utime(slides / "a.svs")
    assert run() == "a/result.json", "touched, and equal to the byte"
    assert run("--set", "rule.min_cells=7") == "a-2/result.json", "a new run gets a new folder"
    assert run("--set", "rule.min_cells=7") == "a-2/result.json"
    assert run("--set", "rule.min_cells=7", "--again") == "a-3/result.json"
    with (slides / "a.svs").open("ab") as file:
        file.write(b"\0")
    assert run("--set", "rule.min_cells=7") == "a-4/result.json"


def test_a_manifest_with_cases_and_the_options_of_a_batch(
    small: Path, wsi_her2: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    plain = tmp_path / "b.tif"
    with tifffile.TiffFile(small) as tiff:
        tifffile.imwrite(plain, tiff.pages[0].asarray(), tile=(64, 64), photometric="rgb", metadata=None)
    shutil.copy(small, tmp_path / "a.svs")
    shutil.copy(small, tmp_path / "c.svs")
    listed = tmp_path / "list.csv"
    listed.write_text("slide;mpp;case\na.svs;;7\nb.tif;0,25;7\nnot there.svs;;8\nc.svs;;8\n", encoding="utf-8")

    dry = wsi_her2("batch", listed, "-o", out, "--dry-run", out=out)
    assert dry.code == 0, dry.stderr
    assert "4 slides: 3 to score, 1 with problems; about" in dry.stdout
    assert not out.exists()

    two = wsi_her2("batch", listed, "-o", out, *SERIAL, "--limit", "2", out=out)
    assert two.code == 0, two.stderr
    assert list(summary(out)) == ["a.svs", "b.tif"]

    stopped = wsi_her2("batch", listed, tmp_path / "empty.svs", "-o", out, *SERIAL, "--fail-fast", out=out)
    assert stopped.code == 2, "an input that is not there is a mistake"
    (tmp_path / "a0.svs").touch()
    stopped = wsi_her2("batch", listed, tmp_path / "a0.svs", "-o", out, *SERIAL, "--fail-fast", out=out)
    assert stopped.code == 12
    rows = summary(out)
    assert list(rows) == ["a.svs", "a0.svs", "b.tif", "c.svs", "not there.svs"]
    assert [rows[name]["status"] for name in ("a.svs", "a0.svs", "c.svs")] == ["scored", "corrupt", "waiting"]
    assert rows["not there.svs"]["status"] == "waiting"

    whole = wsi_her2("batch", listed, "-o", out, *SERIAL, out=out)
    assert whole.code == 12
    rows = summary(out)
    assert [row["status"] for row in rows.values()] == ["scored", "scored", "scored", "failed"]
    assert rows["not there.svs"]["message"] == "no such file (check the path)"
    with (out / "cases.csv").open(encoding="utf-8", newline="") as file:
        cases = {row["case"]: row for row in csv.DictReader(file)}
    assert (cases["7"]["slides"], cases["7"]["scored"], cases["8"]["other"]) == ("2", "2", "1")
    assert "a/" in (out / "summary.html").read_text(encoding="utf-8")


def test_mistakes_are_refused_before_anything_is_made(
    wsi_her2: Callable[..., Any], small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    listed = tmp_path / "list.csv"
    listed.write_text(f"slide,assay\n{small},never heard of\n", encoding="utf-8")
    for words, named in (
        ((tmp_path / "nothing",), "no such file or folder"),
        ((listed,), "never heard of"),
        ((small, "--limit", "0"), "--limit"),
        ((small, "--set", "rule.min_cells=x"), "min_cells"),
    ):
        outcome = wsi_her2("batch", *words, "-o", out, out=out)
        assert (outcome.code, outcome.stderr.count("\n")) == (2, 1), outcome.stderr
        assert named in outcome.stderr
        assert not out.exists()
    (tmp_path / "file").touch()
    outcome = wsi_her2("batch", small, "-o", tmp_path / "file", out=out)
    assert outcome.code == 8
