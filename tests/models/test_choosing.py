"""Which weights count: named ones, or the best of the first folder that holds any of the kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi_pipeline.errors import UsageError, WeightsError
from wsi_pipeline.models import registry
from wsi_pipeline.models.choosing import choose_weights
from wsi_pipeline.models.manifest import (
    CLASSIFIERS,
    HER2_CLASSES,
    SYMMETRIC,
    Architecture,
    Fixture,
    Manifest,
    manifest_json,
)


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the package ship an empty folder."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(registry, "shipped_folder", lambda: folder)
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, architecture: Architecture) -> None:
    classifies = architecture in CLASSIFIERS
    manifest = Manifest(
        name=name, mpp=0.5, licence="CC0-1.0", architecture=architecture, file=f"{name}.safetensors", sha256="0" * 64,
        tile_px=256, input_px=224 if classifies else 256, normalisation=SYMMETRIC,
        class_names=HER2_CLASSES if classifies else (),
        fixture=Fixture(seed=0, height_px=32, width_px=48, expected=(), tolerance=1.0),
    )  # fmt: skip
    (folder / f"{name}.json").write_bytes(manifest_json(manifest))


def chosen(kind: str, wanted: str, folder: Path | None, *, full: bool) -> str | None:
    found = choose_weights(kind, wanted, folder, prefer_full=full)  # type: ignore[arg-type]
    return found.manifest.name if found is not None else None


def test_none_is_none_whatever_there_is(mine: Path) -> None:
    put(mine, "net", "ihcnet")
    assert chosen("classifier", "none", mine, full=True) is None


def test_nothing_anywhere_is_none(mine: Path) -> None:
    put(mine, "net", "ihcnet")
    assert chosen("stainer", "auto", mine, full=True) is None


@pytest.mark.parametrize(
    ("kind", "full", "light"), [("stainer", "pspstain", "pspstain-light"), ("classifier", "ihcnet", "ihcnet-light")]
)
def test_full_or_light_as_the_machine_can(mine: Path, kind: str, full: Architecture, light: Architecture) -> None:
    put(mine, "a-small", light)
    assert chosen(kind, "auto", mine, full=True) == "a-small"  # better than nothing
    put(mine, "b-big", full)
    assert chosen(kind, "auto", mine, full=True) == "b-big"
    assert chosen(kind, "auto", mine, full=False) == "a-small"


def test_the_first_folder_with_the_kind_decides(mine: Path, shipped: Path) -> None:
    put(shipped, "shipped-classifier", "ihcnet")
    put(shipped, "shipped-stainer", "pspstain")
    put(mine, "mine", "ihcnet-light")
    assert chosen("classifier", "auto", mine, full=True) == "mine"
    assert chosen("classifier", "auto", None, full=True) == "shipped-classifier"
    assert chosen("stainer", "auto", mine, full=True) == "shipped-stainer"


def test_several_of_one_architecture_ask_for_a_name(mine: Path) -> None:
    for name in ("bci", "mist"):
        put(mine, name, "pspstain")
    put(mine, "light", "pspstain-light")
    with pytest.raises(UsageError, match=r"several pspstain: bci, mist .choose one with --stainer NAME"):
        chosen("stainer", "auto", mine, full=True)
    assert chosen("stainer", "auto", mine, full=False) == "light"
    assert chosen("stainer", "mist", mine, full=True) == "mist"


def test_a_name_of_the_other_kind_is_refused(mine: Path) -> None:
    put(mine, "net", "ihcnet")
    with pytest.raises(UsageError, match=r"--stainer net: ihcnet is a classifier"):
        chosen("stainer", "net", mine, full=True)


def test_a_name_that_is_not_there_is_refused(mine: Path) -> None:
    with pytest.raises(WeightsError, match="no such weights"):
        chosen("classifier", "absent", mine, full=True)


def test_a_broken_manifest_is_refused_where_it_is_the_only_one(mine: Path, shipped: Path) -> None:
    put(shipped, "shipped-classifier", "ihcnet")
    put(shipped, "shipped-stainer", "pspstain")
    (mine / "mine.json").write_text('{"architecture": "ihcnet"}')
    with pytest.raises(WeightsError, match=r"mine.json: is not a weights manifest"):
        chosen("classifier", "auto", mine, full=True)
    assert chosen("stainer", "auto", mine, full=True) == "shipped-stainer"
    put(mine, "sound", "ihcnet-light")
    assert chosen("classifier", "auto", mine, full=True) == "sound"
    with pytest.raises(WeightsError, match="not a weights manifest"):
        chosen("classifier", "mine", mine, full=True)


def test_a_truncated_manifest_counts_where_tensors_lie_beside_it(mine: Path) -> None:
    (mine / "net.json").write_text('{"name": "net", "archit')
    assert chosen("stainer", "auto", mine, full=True) is None  # someone's file, not weights
    (mine / "net.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"net.json: is not a weights manifest"):
        chosen("stainer", "auto", mine, full=True)
