"""A study of a data set in BCI's layout: what it leaves adds up, goes on after a kill, and lets nothing leak."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

REASON = "needs the train extra: pip install '.[train]'"
for package in ("torch", "torchvision", "safetensors", "matplotlib"):
    pytest.importorskip(package, reason=REASON)

from tests.training.study.conftest import SMALL, write_pair  # noqa: E402
from wsi_pipeline.errors import OutputError, UsageError  # noqa: E402
from wsi_pipeline.training.data.index import read_index  # noqa: E402
from wsi_pipeline.training.data.splits import require_no_leak  # noqa: E402
from wsi_pipeline.training.study.files import read_table  # noqa: E402
from wsi_pipeline.training.study.guard import is_marked  # noqa: E402
from wsi_pipeline.training.study.options import StudyRequest  # noqa: E402
from wsi_pipeline.training.study.run import run_study  # noqa: E402

Request = Callable[..., StudyRequest]
METHODS = ("baseline", "retrained", "direct")
PROGRAM = "from wsi_pipeline.cli.main import main; main()"


def command(bci: Path, out: Path) -> list[str]:
    """Return the small study as it is typed."""
    settings = [word for name, value in SMALL.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    words = ["study", "--data", str(bci), "--out", str(out), "--device", "cpu", *settings]
    return [sys.executable, "-W", "error", "-c", PROGRAM, *words]


def test_the_table_adds_up_with_the_stored_predictions(done: Path) -> None:
    table = {row["classifier"]: row for row in read_table(done / "study.csv")}
    assert list(table) == [*METHODS, "retrained - baseline"]
    shares = {}
    for method in METHODS:
        rows = read_table(done / f"predictions_{method}.csv")
        assert len(rows) == int(table[method]["tiles"]) == 8, "two tiles of each of four test patches"
        right = [row["label"] == row["called"] for row in rows]
        shares[method] = sum(right) / len(right)
        assert float(table[method]["accuracy"]) == pytest.approx(shares[method], abs=1e-6)
        for label, name in enumerate(("0", "1+", "2+", "3+")):
            of_class = [good for good, row in zip(right, rows, strict=True) if int(row["label"]) == label]
            assert float(table[method][f"recall_{name}"]) == pytest.approx(sum(of_class) / len(of_class), abs=1e-6)
        for row in rows:
            found = [float(value) for name, value in row.items() if name.startswith("probability")]
            assert found.index(max(found)) == int(row["called"])
            assert sum(found) == pytest.approx(1)
    change = float(table["retrained - baseline"]["accuracy"])
    assert change == pytest.approx(shares["retrained"] - shares["baseline"], abs=1e-6)


def test_acceptance_adds_up_with_the_verdicts(done: Path) -> None:
    rows = read_table(done / "filter.csv")
    train = [patch for patch in read_index(done / "data.csv") if patch.split == "train"]
    counts = {row["class"]: row for row in read_table(done / "acceptance.csv")}
    assert len(rows) == 2 * len(train) == int(counts["all"]["tiles"])
    accepted = [row for row in rows if row["accepted"] == "yes"]
    assert 0 < len(accepted) < len(rows), "the test is about a filter that lets some pass"
    assert int(counts["all"]["accepted"]) == len(accepted)
    assert all(row["called"] == row["label"] for row in accepted)
    assert json.loads((done / "study.json").read_text())["retraining"]["synthetic_tiles"] == len(accepted)


def test_synthetic_images_are_in_training_only_and_no_slide_straddles(done: Path) -> None:
    index = read_index(done / "index.csv")
    require_no_leak(index)
    splits, synthetic = defaultdict(set), [patch for patch in index if patch.synthetic]
    for patch in index:
        splits[patch.slide].add(patch.split)
        assert is_marked(patch.path) == patch.synthetic
    assert {len(found) for found in splits.values()} == {1}
    assert {patch.split for patch in synthetic} == {"train"}
    verdicts = {row["file"] for row in read_table(done / "filter.csv") if row["accepted"] == "yes"}
    assert {patch.path.relative_to(done).as_posix() for patch in synthetic} == verdicts
    test = {str(patch.path) for patch in index if patch.split == "test"}
    assert all("/IHC/test/" in path for path in test), "the data set's own test stays the test"
    for method in ("baseline", "retrained"):
        assert {row["file"] for row in read_table(done / f"predictions_{method}.csv")} == test
    virtual = [row["file"] for row in read_table(done / "predictions_direct.csv")]
    assert all(is_marked(done / file) for file in virtual)
    assert not {str(done / file) for file in virtual} & {str(patch.path) for patch in index}


def test_the_record_says_what_an_auditor_asks(done: Path) -> None:
    record = json.loads((done / "study.json").read_text())
    assert "inferred from H&E" in record["virtual_notice"]
    assert record["weights"]["baseline"]["steps"] == record["retraining"]["steps"]
    assert len({record["weights"][name]["sha256"] for name in ("baseline", "retrained", "stainer")}) == 3
    assert record["options"]["classifier"]["epochs"] == 1
    assert {name: facts["patches"] for name, facts in record["data"]["splits"].items()} == {
        "train": 8, "val": 4, "test": 4,
    }  # fmt: skip
    assert any("Every patch counts as a slide" in note for note in record["warnings"])
    assert any("has 4 patients or slides" in note for note in record["warnings"])
    assert record["results"]["classifiers"][0]["tiles"] == 8
    assert {"data", "baseline", "filter", "direct"} <= record["steps"].keys()


def test_the_page_needs_nothing_else(done: Path) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "Research use only" in page
    assert "inferred from H&amp;E" in page
    assert page.count("data:image/png") == 3
    assert page.count("data:image/jpeg") >= 3
    assert "http" not in page
    assert "<script" not in page


def test_a_killed_study_goes_on_and_finds_the_same(
    done: Path, bci: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    out = tmp_path / "out"
    typed = command(bci, out)
    process = subprocess.Popen(typed, env=environment, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "retrained" / "checkpoint.pt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = {file.name: file.read_bytes() for file in (out / "steps").iterdir()}
    assert {"data.json", "baseline.json", "filter.json"} <= before.keys()
    assert "retrained.json" not in before
    again = subprocess.run([*typed, "--resume"], env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert {name: (out / "steps" / name).read_bytes() for name in before} == before
    for name in ("study.csv", "acceptance.csv", *(f"predictions_{method}.csv" for method in METHODS)):
        assert (out / name).read_bytes() == (done / name).read_bytes(), name
    assert "retrained - baseline" in again.stderr


def test_a_finished_study_is_only_reported_again(done: Path, bci: Path, tmp_path: Path, study_of: Request) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    for name in ("study.csv", "report.html"):
        (out / name).unlink()
    stages: list[str] = []
    run_study(study_of(bci, out, resume=True, show=lambda stage, _done, _total: stages.append(stage)))
    assert stages == ["reporting"]
    assert (out / "study.csv").read_bytes() == (done / "study.csv").read_bytes()


def test_nothing_is_smuggled_into_a_study_that_was_interrupted(
    done: Path, bci: Path, tmp_path: Path, study_of: Request
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    text = (out / "index.csv").read_text()
    assert "train,true" in text
    (out / "index.csv").write_text(text.replace("train,true", "test,true"))
    with pytest.raises(OutputError, match=r"index\.csv: is not as step 'filter' left it"):
        run_study(study_of(bci, out, resume=True))


def test_synthetic_images_of_another_study_are_refused_by_name(
    done: Path, bci: Path, tmp_path: Path, study_of: Request
) -> None:
    root = tmp_path / "bci"
    shutil.copytree(bci, root)
    made = next((done / "virtual" / "test").iterdir())
    victim = root / "IHC" / "test" / "00001_test_2+.png"
    shutil.copy(made, victim)
    with pytest.raises(UsageError, match=r"00001_test_2\+\.png: is a synthetic image"):
        run_study(study_of(root, tmp_path / "out"))
    (tmp_path / "index.csv").write_text((done / "index.csv").read_text().replace("train,true", "val,true"))
    with pytest.raises(UsageError, match=r"virtual/train/\d+_\d\.png: is a synthetic image"):
        run_study(study_of(tmp_path / "index.csv", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def index_of(root: Path, name: str, change: Callable[[dict[str, str]], Any]) -> Path:
    """Return an index of a data set in BCI's layout, each row changed."""
    rows = []
    for ihc in sorted((root / "IHC").rglob("*.png")):
        _, part, label = ihc.stem.split("_")
        he = str(ihc).replace("/IHC/", "/HE/")
        row = {"path": str(ihc), "pair": he, "label": label, "slide": ihc.stem, "split": part}
        change(row)
        rows.append(row)
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (root.parent / name).write_text("\n".join(lines) + "\n")
    return root.parent / name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.update(label=""), r"a\.csv: has no HER2 labels"),
        (lambda row: row.update(pair=""), r"00000_test_3\+\.png: has no H&E beside it"),
        (lambda row: row.update(label={"1+": "0"}.get(row["label"], row["label"])), r"class 1\+ is empty"),
        (lambda row: row.update(slide=row["slide"][:5]), r"slide '00000' is in (train|test) here and in (train|test)"),
    ],
)
def test_bad_data_is_named(
    bci: Path, tmp_path: Path, study_of: Request, change: Callable[[dict[str, str]], None], words: str
) -> None:
    (tmp_path / "set").symlink_to(bci)
    with pytest.raises(UsageError, match=words) as raised:
        run_study(study_of(index_of(tmp_path / "set", "a.csv", change), tmp_path / "out"))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_small_patches_are_named(tmp_path: Path, study_of: Request) -> None:
    for number, label in enumerate(("0", "1+", "2+", "3+") * 3):
        write_pair(tmp_path / "bci", "train", number, label, (260, 201))
    with pytest.raises(UsageError, match=r"is 260 x 201 px \(at least 256 px are needed"):
        run_study(study_of(tmp_path / "bci", tmp_path / "out"))


def test_given_weights_must_stain(done: Path, bci: Path, tmp_path: Path, study_of: Request) -> None:
    from wsi_pipeline.errors import WeightsError  # noqa: PLC0415

    request = study_of(bci, tmp_path / "out", stainer="baseline", weights=done / "baseline")
    with pytest.raises(WeightsError, match="classifies tiles and does not stain"):
        run_study(request)


def test_settings_of_the_command_can_be_read_from_a_file(tmp_path: Path, bci: Path, study_of: Request) -> None:
    from wsi_pipeline.training.loop.settings import load_options  # noqa: PLC0415
    from wsi_pipeline.training.study.options import StudyOptions  # noqa: PLC0415

    options = study_of(bci, tmp_path).options
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(options.model_dump(mode="json")))
    assert load_options(StudyOptions, "study", str(tmp_path / "mine.yaml"), {}) == options
