"""Which paths a record may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.labelled_runs import leave_run
from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.matching import read_run
from wsi_pipeline.flows.public_view import SlidePlace, place_of, place_of_request, seen_from
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.storage import Address, RemotePath


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/homes/alice"))


@pytest.mark.parametrize(
    ("place", "folder", "seen"),
    [
        ("/data/run/a.svs", "/data/run", "a.svs"),
        ("/data/run/in/a.svs", "/data/run", "in/a.svs"),
        ("/data/a.svs", "/data/run", "../a.svs"),
        ("/data/slides/a.svs", "/data/results/b/c", "../../../slides/a.svs"),
        ("/homes/alice/slides/a.svs", "/homes/alice/results/a", "../../slides/a.svs"),
        ("/homes/alice/a.svs", "/homes/bob/results", None),
        ("/data/a.svs", "/results/a", None),
        ("/a.svs", "/results", None),
    ],
)
def test_a_path_is_relative_where_both_move_together(place: str, folder: str, seen: str | None) -> None:
    assert seen_from(Path(place), Path(folder)) == seen


def test_a_link_keeps_its_own_name_and_folders_are_real_ones(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "17.svs").touch()
    (tmp_path / "real" / "case 4.svs").symlink_to("17.svs")
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    found = place_of(tmp_path / "link" / ".." / "real" / "case 4.svs", tmp_path.resolve() / "out")
    assert found == SlidePlace("case 4.svs", "../real/case 4.svs", None)


def test_far_and_remote_slides() -> None:
    settings = load_settings(None, {})
    assert place_of(Path("/far/a.svs"), Path("/data/out")) == SlidePlace("a.svs", "a.svs", "/far/a.svs")
    sent = ScoreRequest(Path("/far/a.svs"), Path("/tmp/x"), settings, destination=Address.of("s3://bucket/out"))  # noqa: S108
    assert place_of_request(sent, Path("/tmp/x")) == SlidePlace("a.svs", "a.svs", None)  # noqa: S108
    address = Address.of("https://me:secret@host.org/b/a.svs?key=3")
    fetched = ScoreRequest(Path("/copies/a.svs"), Path("/x"), settings, origin=RemotePath.alone(address))
    assert place_of_request(fetched, Path("/x")) == SlidePlace("a.svs", "https://host.org/b/a.svs", None)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("../../slides/a.svs", "{}/slides/a.svs"), ("a.svs", "{}/runs/1/a.svs"), ("/old/a.svs", "/old/a.svs"),
        ("s3://bucket/a.svs", "s3://bucket/a.svs"),
    ],
)  # fmt: skip
def test_a_record_tells_where_its_slide_lies(path: str, found: str, tmp_path: Path) -> None:
    record = leave_run(tmp_path / "runs" / "1", path, "3+")
    assert read_run(record).slide == found.format(tmp_path)
