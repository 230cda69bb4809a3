"""Slides and results on S3-compatible storage, by the command line against a real server."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide
from wsi_pipeline.training.phantom.options import TissueOptions

pytest.importorskip("s3fs", reason="needs the remote extra: pip install '.[remote]'")
pytest.importorskip("moto", reason="needs moto's S3 server")

_found = importlib.util.spec_from_file_location("s3_server", Path(__file__).with_name("s3_server.py"))
assert _found is not None
assert _found.loader is not None
s3_server = importlib.util.module_from_spec(_found)
_found.loader.exec_module(s3_server)

pytestmark = pytest.mark.slow

SERIAL = ("--set", "engine.executor=serial")
SMALL_REGIONS = ("--set", "tiling.region_tiles=1")
PATIENCE_S = 300
FULL = TissueOptions(tumour_fraction=0.85, fat=False, vessels=False, necrosis=False, lymphocytes=False)


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    """Return a running server with two buckets."""
    found = s3_server.S3Server()
    found.start("archive", "results")
    yield found
    found.kill()


@pytest.fixture
def server(running: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a server that the command reaches and all tests share."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
    return running


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a server that the command reaches and that the test may kill."""
    found = s3_server.S3Server()
    found.start("archive", "results")
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
    yield found
    found.kill()


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Give the keys to the command, and look that no copy stays in its folder for temporary files."""
    for name, value in s3_server.KEYS.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide that takes a second: 1009 x 787 px at 0.25 x 0.26 um."""
    options = PhantomOptions(
        name="small", seed=5, width=1009, height=787, mpp_y=0.26, mix={"2": 0.2, "3": 0.8}, tissue=FULL
    )
    return write_slide(make_phantom(options), tmp_path_factory.mktemp("small") / "small.svs")


def summary(server: Any, prefix: str) -> dict[str, dict[str, str]]:
    """Return slide -> row of the summary at the URL."""
    text = server.read("results", f"{prefix}/summary.csv").decode()
    return {row["slide"]: row for row in csv.DictReader(io.StringIO(text))}


def one_line(words: str) -> str:
    """Return what was said, which is one sentence without keys."""
    assert words.count("\n") == 1, words
    assert not any(s3_server.KEYS[name] in words for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    return words.strip()


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_a_slide_on_s3_gives_what_the_same_file_gives(
    server: Any, wsi_her2: Callable[..., Any], sample_run: Callable[[str], Any],
    samples: Path, assert_same: Callable[..., None], tmp_path: Path, temporary: Path,
) -> None:  # fmt: skip
    local = sample_run("3plus")
    server.put("archive", {"fälle/a b/phantom_3plus.svs": samples / "phantom_3plus.svs"})
    url = "s3://archive/fälle/a b/phantom_3plus.svs"
    outcome = wsi_her2("run", url, "-o", "s3://results/one/x", *SERIAL, "--json", out=tmp_path / "x")
    assert outcome.code == local.code == 0, outcome.stderr
    assert outcome.stderr.splitlines()[-1] == "results: s3://results/one/x"
    fetched = server.fetch("results", "one/x/", tmp_path / "x")
    assert outcome.stdout == (fetched / "result.json").read_text(encoding="utf-8")
    assert outcome.result["slide"]["path"] == url
    assert outcome.result["slide"]["local_path"] is None
    for name in ("path", "local_path"):
        outcome.result["slide"][name] = local.result["slide"][name]
    assert_same(local, outcome)
    for path in (
        *fetched.glob("*.json"),
        fetched / "project.qpproj",
        *fetched.glob("scripts/*"),
        *fetched.glob("classifiers/*"),
    ):
        assert str(tmp_path) not in path.read_text(encoding="utf-8"), path
    assert list(temporary.iterdir()) == []

    before = server.listed("results", "one/x/")
    again = wsi_her2("run", url, "-o", "s3://results/one/x", *SERIAL, out=tmp_path / "x")
    assert again.stderr.splitlines()[-1] == "results: s3://results/one/x-2"
    assert server.listed("results", "one/x/") == before, "what lies there is never touched"
    assert "one/x-2/result.json" in server.listed("results")

    mixed = wsi_her2("run", url, "-o", tmp_path / "here", *SERIAL, out=tmp_path / "here")
    assert (mixed.code, mixed.result["slide"]["path"]) == (0, url)
    told = wsi_her2("info", url, "--json", out=tmp_path)
    assert json.loads(told.stdout)["file"] == url
    assert list(temporary.iterdir()) == []


def test_a_project_links_slide_and_maps_as_they_lie_in_a_copy_of_the_bucket(
    server: Any, wsi_her2: Callable[..., Any], small: Path, tmp_path: Path
) -> None:
    server.put("archive", {"p/small.svs": small})
    outcome = wsi_her2("run", "s3://archive/p/small.svs", "-o", "s3://results/p/x", *SERIAL, out=tmp_path)
    assert outcome.code == 0, outcome.stderr
    project = json.loads(server.read("results", "p/x/project.qpproj"))
    assert project["uri"] == "file:///results/p/x/project.qpproj"
    links = [image["serverBuilder"]["uri"] for image in project["images"]]
    assert links[0] == "file:///archive/p/small.svs"
    assert all(link.startswith("file:///results/p/x/maps/") for link in links[1:])


def test_a_batch_from_s3_to_s3_and_once_more(
    server: Any, wsi_her2: Callable[..., Any], small: Path, samples: Path, tmp_path: Path
) -> None:
    server.put("archive", {
        "many/fälle 1/ä/klein.svs": small, "many/b.svs": b"no image", "many/notes.txt": b"x", "many/.hidden.svs": small,
        "many/list.csv": "slide;case\nfälle 1/ä/klein.svs;7\nb.svs;7\n".encode(),
    })  # fmt: skip
    words = ("batch", "s3://archive/many/", "-o", "s3://results/many", *SERIAL)
    dry = wsi_her2(*words, "--work", tmp_path / "work", "--dry-run", out=tmp_path)
    assert dry.code == 0, dry.stderr
    assert "2 slides: 2 to score" in dry.stdout
    assert not (tmp_path / "work").exists()

    first = wsi_her2(*words, "--work", tmp_path / "work", out=tmp_path)
    assert first.code == 12, first.stderr
    assert first.stderr.splitlines()[-1] == "results: s3://results/many/summary.csv"
    rows = summary(server, "many")
    assert {name: row["status"] for name, row in rows.items()} == {"b.svs": "corrupt", "fälle 1/ä/klein.svs": "scored"}
    assert rows["fälle 1/ä/klein.svs"]["result"] == "fälle 1/ä/klein/result.json"
    assert rows["b.svs"]["message"].startswith("is not an image")
    record = json.loads(server.read("results", "many/fälle 1/ä/klein/result.json"))
    assert record["slide"]["path"] == "s3://archive/many/fälle 1/ä/klein.svs"
    assert server.read("results", "many/summary.html") == (tmp_path / "work" / "summary.html").read_bytes()
    for key in server.listed("results", "many/"):
        if key.endswith((".json", ".csv", ".html", ".qpproj")):
            assert str(tmp_path) not in server.read("results", key).decode(), key
    assert list((tmp_path / "work" / ".work" / "slides").iterdir()) == [], "copies go when their turn is over"
    assert list((tmp_path / "work" / ".work" / "runs").iterdir()) == []

    before = server.listed("results", "many/fälle 1/ä/")
    for work in ("work", "fresh"):
        rerun = wsi_her2(*words, "--work", tmp_path / work, out=tmp_path)
        assert b'src="f%C3%A4lle%201/%C3%A4/klein/overlay.png"' in server.read("results", "many/summary.html")
        assert "fälle 1/ä/klein.svs: scored 3+ (positive) (done before)" in rerun.stderr
        assert server.listed("results", "many/fälle 1/ä/") == before
    listed = wsi_her2("batch", "s3://archive/many/list.csv", *words[2:], "--work", tmp_path / "work", out=tmp_path)
    assert listed.code == 12
    assert "(done before)" in listed.stderr
    assert b"\n7,2,1,0,1," in server.read("results", "many/cases.csv")

    server.put("archive", {"many/fälle 1/ä/klein.svs": samples / "phantom_null.svs"})
    changed = wsi_her2(*words, "--work", tmp_path / "work", out=tmp_path)
    assert changed.code == 12
    rows = summary(server, "many")
    assert rows["fälle 1/ä/klein.svs"]["result"] == "fälle 1/ä/klein-2/result.json", "another file, another run"
    assert server.listed("results", "many/fälle 1/ä/klein/") == {
        key: value for key, value in before.items() if key.startswith("many/fälle 1/ä/klein/")
    }


def test_a_run_whose_results_cannot_be_sent_is_kept(
    mortal: Any, start: Callable[..., Any], small: Path, tmp_path: Path
) -> None:
    mortal.put("archive", {"small.svs": small})
    words = ("s3://archive/small.svs", "-o", "s3://results/x", "--work", tmp_path / "work", *SERIAL, *SMALL_REGIONS)
    run = start("run", *words)
    wait_for(lambda: list(tmp_path.glob("work/*/.run-x.partial-*/.parts/cells-*")), run)
    mortal.kill()
    _, said = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 13, said
    found = re.fullmatch(
        r"wsi-her2: s3://results/x: the store cannot be reached \(the finished run is in (.*)\)", said.splitlines()[-1]
    )
    assert found is not None, said
    kept = Path(found[1])
    assert json.loads((kept / "result.json").read_text(encoding="utf-8"))["score"] == "3+"
    assert (kept / "maps").is_dir()
    assert list((tmp_path / "work").iterdir()) == [kept]


def test_a_batch_that_loses_its_store_goes_on_later(
    mortal: Any, start: Callable[..., Any], wsi_her2: Callable[..., Any], small: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    slides = {"many/a.svs": small, "many/b.svs": small}
    mortal.put("archive", slides)
    work = tmp_path / "work"
    words = ("batch", "s3://archive/many", "-o", "s3://results/many", "--work", work, *SERIAL, *SMALL_REGIONS)
    batch = start(*words)
    wait_for(lambda: list(work.glob(".work/runs/*/.parts/journal/process_region/[0-9]*.npz")), batch)
    mortal.kill()
    _, said = batch.communicate(timeout=PATIENCE_S)
    assert batch.returncode == 13, said
    sentence = said.splitlines()[-1]
    assert sentence.startswith("wsi-her2: s3://results/many")
    assert "the store cannot be reached" in sentence
    finished = (work / "a" / "result.json").read_bytes()
    mortal.start("archive", "results")
    mortal.put("archive", slides)
    again = wsi_her2(*words, out=tmp_path, seconds=PATIENCE_S)
    assert again.code == 0, again.stderr
    assert mortal.read("results", "many/a/result.json") == finished, "sent, not scored once more"
    assert {name: row["status"] for name, row in summary(mortal, "many").items()} == {
        "a.svs": "scored",
        "b.svs": "scored",
    }
    assert not any("sending" in key for key in mortal.listed("results"))


def test_a_wire_that_breaks_now_and_then_is_borne(
    server: Any, wsi_her2: Callable[..., Any], samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = samples / "phantom_3plus.svs"
    server.put("archive", {"wire/3.svs": slide})
    wire = s3_server.CutWire(server.port, cuts=2, after_bytes=slide.stat().st_size // 2)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wire.port}")
    outcome = wsi_her2("info", "s3://archive/wire/3.svs", "--json", out=tmp_path)
    wire.close()
    assert outcome.code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["width"] == 2710
    assert wire.cut == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "s3://archive/none.svs", "-o", "OUT"), 2, "s3://archive/none.svs: no such file (check the address)"),
        (("run", "s3://nobucket/a.svs", "-o", "OUT"), 2, "s3://nobucket/a.svs: no such bucket (check the address)"),
        (("info", "s3://k:top-secret@archive/a.svs"), 2, "s3://archive/a.svs: was given with a user or a"),
        (("batch", "s3://archive/none/", "-o", "OUT"), 2, "s3://archive/none: no such file (check the address)"),
        (("batch", "s3://archive/*.none", "-o", "OUT"), 2, "s3://archive/*.none: matches no slide (check"),
        (("run", "SLIDE", "-o", "s3://nobucket/x"), 8, "s3://nobucket: there is no such bucket (make it, or name"),
        (("run", "SLIDE", "-o", "s3://results"), 8, "s3://results: is a whole bucket (name a new folder in it"),
        (("run", "SLIDE", "-o", "https://host/x"), 8, "https://host/x: cannot be written to (name a folder in a"),
        (("batch", "SLIDE", "-o", "s3://results/x"), 2, "--work: is needed when the results go to a URL (name a"),
        (
            ("run", "s3://archive/a.svs", "-o", "OUT", "--scheduler", "tcp://127.0.0.1:1"), 2,
            "--work: is needed with --scheduler when anything lies at a URL (name a folder that all workers reach)",
        ),
        (("run", "s4://archive/a.svs", "-o", "OUT"), 2, "s4://: is no storage that is known here (use s3://"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_plain_sentence(
    words: tuple[str, ...], code: int, said: str, server: Any, wsi_her2: Callable[..., Any], small: Path, tmp_path: Path
) -> None:  # fmt: skip
    places = {"OUT": str(tmp_path / "out"), "SLIDE": str(small)}
    outcome = wsi_her2(*(places.get(word, word) for word in words), out=tmp_path)
    assert outcome.code == code, outcome.stderr
    assert one_line(outcome.stderr).startswith(f"wsi-her2: {said}")
    assert not (tmp_path / "out").exists()


def test_keys_that_are_missing_or_refused(
    mortal: Any, wsi_her2: Callable[..., Any], small: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    mortal.put("archive", {"a.svs": small})
    mortal.check_keys(wanted=True)
    read = wsi_her2("run", "s3://archive/a.svs", "-o", tmp_path / "out", out=tmp_path)
    assert read.code == 13
    assert one_line(read.stderr).startswith("wsi-her2: s3://archive/a.svs: the store refuses reading (check the keys")
    written = wsi_her2("run", small, "-o", "s3://results/x", out=tmp_path)
    assert written.code == 13
    assert one_line(written.stderr).startswith("wsi-her2: s3://results: the store refuses writing (check the keys")
    mortal.check_keys(wanted=False)
    for name in s3_server.KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    none = wsi_her2("run", "s3://archive/a.svs", "-o", tmp_path / "out", out=tmp_path)
    assert none.code == 13
    assert "there are no keys to sign in with (set AWS_ACCESS_KEY_ID" in one_line(none.stderr)
    assert not (tmp_path / "out").exists()


def test_a_store_that_nobody_answers_for(mortal: Any, wsi_her2: Callable[..., Any], tmp_path: Path) -> None:
    mortal.kill()
    outcome = wsi_her2("run", "s3://archive/a.svs", "-o", tmp_path / "out", out=tmp_path)
    assert outcome.code == 13
    assert "s3://archive/a.svs: the store cannot be reached (check the network" in one_line(outcome.stderr)


def test_local_slides_need_none_of_it(small: Path, tmp_path: Path) -> None:
    """Score a local slide where fsspec cannot be imported by this product's storage, nor s3fs at all."""
    shutil.copy(small, tmp_path / "a.svs")
    program = (
        "import sys; sys.modules['s3fs'] = None; sys.modules['aiohttp'] = None; "
        "sys.argv = ['wsi-her2', 'run', 'a.svs', '-o', 'out', '--set', 'engine.executor=serial']; "
        "from wsi_pipeline.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["slide"]["path"] == "../a.svs"
