"""Slides that a worker keeps open: one handle between regions, another when another file lies there."""

from __future__ import annotations

import shutil
from pathlib import Path

from wsi_pipeline.flows.region import file_identity, opened
from wsi_pipeline.slide import SlideSpec


def test_a_slide_stays_open_until_another_takes_its_place(samples: Path, tmp_path: Path) -> None:
    spec = SlideSpec(tmp_path / "a.svs")
    shutil.copy(samples / "phantom_null.svs", spec.path)
    first = opened(spec)
    assert opened(SlideSpec(tmp_path / "a.svs")) is first
    spec.path.unlink()
    shutil.copy(samples / "phantom_3plus.svs", spec.path)
    assert opened(spec) is not first


def test_what_is_not_there_has_no_identity(tmp_path: Path) -> None:
    assert file_identity(tmp_path / "nothing") == ()
    assert file_identity(tmp_path) != ()
