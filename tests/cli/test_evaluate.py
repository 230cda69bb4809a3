"""`evaluate` and `calibrate` as commands, on a slide that was really scored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from wsi_pipeline.cli.calibrate import calibrate
from wsi_pipeline.cli.evaluate import evaluate
from wsi_pipeline.config import load_assay, load_settings
from wsi_pipeline.errors import OutputError, UsageError
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.results import NOTICE

app = typer.Typer()
app.command("evaluate")(evaluate)
app.command("calibrate")(calibrate)

LABELS = {"null": "0", "ultralow": "0", "1plus": "1+", "2plus": "2+", "3plus": "3+", "heterogeneous": "3+"}


@pytest.fixture(scope="module")
def runs(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs on six sample slides."""
    folder = tmp_path_factory.mktemp("runs")
    settings = load_settings("serial", {"evidence": "cells"})
    for name in LABELS:
        score_slide(ScoreRequest(samples / f"phantom_{name}.svs", folder / name, settings))
    return folder


def write(path: Path, *lines: str) -> Path:
    """Write a table."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def call(*words: object) -> tuple[str, str]:
    """Run a command and return what it printed on stdout and stderr; errors pass."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout, done.stderr


def test_evaluate_prints_agreement_and_leaves_a_report(runs: Path, tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "slide,score", *(f"phantom_{name},{label}" for name, label in LABELS.items()))
    stdout, stderr = call("evaluate", "--truth", truth, "-o", tmp_path / "report", "--json", "--rounds", 200, runs)
    facts = json.loads(stdout)
    assert facts == json.loads((tmp_path / "report" / "evaluation.json").read_text(encoding="utf-8"))
    assert facts["options"]["rounds"] == 200
    assert facts["agreement"][0]["evaluated"] == 6
    assert facts["agreement"][0]["statistics"]["accuracy, four classes"]["value"] == 1.0
    for words in ("quadratic kappa", "1.00", "6 slides with a score are few", NOTICE, str(tmp_path / "report")):
        assert words in stderr


def test_evaluate_takes_single_records_and_names_the_rest(runs: Path, tmp_path: Path) -> None:
    truth = write(tmp_path / "t.csv", "slide,score", "phantom_null.svs,1+", "phantom_x.svs,0")
    results = [runs / "null" / "result.json", runs / "3plus"]
    _, stderr = call("evaluate", *results, "--truth", truth, "-o", tmp_path / "report")
    assert "phantom_x.svs" in stderr
    assert "phantom_3plus.svs" in stderr
    assert "by reported, 1 of 1 slides" in stderr


def test_calibrate_reuses_runs_and_its_profile_can_be_used(runs: Path, samples: Path, tmp_path: Path) -> None:
    lines = [f"{runs / name},{label}" for name, label in LABELS.items()]
    out = tmp_path / "site" / "lab.yaml"
    words = ("calibrate", "--labels", write(tmp_path / "l.csv", "path,score", *lines), "-o", out, "--antibody", "4B5")
    _, stderr = call(*words)
    assert "left out" in stderr
    assert NOTICE in stderr
    profile = load_assay(str(out))
    assert (profile.name, profile.antibody, profile.pixel_size_um) == ("lab", "4B5", 0.25)
    assert NOTICE in profile.how_set
    assert "6 labelled images" in profile.how_set
    assert profile.faint == load_assay("default").faint  # runs are measured with one value
    assert out.read_text(encoding="utf-8").startswith("# Assay profile")
    assert yaml.safe_load(out.read_text(encoding="utf-8"))["how_set"] == profile.how_set
    settings = load_settings("serial", {"assay": str(out), "evidence": "cells"})
    result, _ = score_slide(ScoreRequest(samples / "phantom_3plus.svs", tmp_path / "run", settings))
    assert (result.score, result.assay) == ("3+", "lab")
    with pytest.raises(OutputError, match="is there already"):
        call(*words)


def test_an_image_that_is_named_twice_would_vouch_for_itself(runs: Path, tmp_path: Path) -> None:
    lines = [f"{runs / name},{label}" for name, label in LABELS.items()]
    labels = write(tmp_path / "l.csv", "path,score", *lines, f"{runs / 'null' / 'result.json'},0")
    with pytest.raises(UsageError, match="named twice"):
        call("calibrate", "--labels", labels, "-o", tmp_path / "a.yaml")


def test_too_few_labels_are_one_sentence(runs: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "l.csv", "path,score", f"{runs / 'null'},0", f"{runs / '3plus'},3+")
    with pytest.raises(UsageError, match="has 2 labelled images that can be scored, and a calibration needs 6"):
        call("calibrate", "--labels", labels, "-o", tmp_path / "a.yaml")
    assert not (tmp_path / "a.yaml").exists()


def test_the_commands_load_nothing_heavy_before_they_run() -> None:
    heavy = ("torch", "dask", "zarr", "pyarrow", "openslide", "cv2", "numpy", "PIL")
    program = (
        "import sys, wsi_pipeline.cli.evaluate, wsi_pipeline.cli.calibrate\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
