"""Outcomes on disk: the same object comes back, and nothing comes back from a damaged record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from wsi_pipeline.export.journal import read_outcome, recorded, write_outcome
from wsi_pipeline.flows.region import RegionOutcome
from wsi_pipeline.flows.stain_region import StainOutcome
from wsi_pipeline.flows.tile_region import TileOutcome

RANDOM = np.random.default_rng(5)

TILES: dict[str, Any] = {
    "tile": np.array([3, 70_000_000_000], np.int64),
    "failed": np.array([[True, False], [False, False]]),
    "cam": RANDOM.normal(size=(2, 3, 5, 7)).astype(np.float16),
    "share": np.array([0.1, np.nan]),
}


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    fields = one._asdict() if hasattr(one, "_asdict") else vars(one)
    for name, value in fields.items():
        again = getattr(other, name)
        if not isinstance(value, dict):
            assert again == value
            assert type(again) is type(value)
            continue
        assert list(again) == list(value), "columns keep their order"
        for key, part in value.items():
            np.testing.assert_array_equal(again[key], part)
            assert np.asarray(again[key]).dtype == np.asarray(part).dtype


@pytest.mark.parametrize(
    "outcome",
    [
        RegionOutcome(
            index=7,
            tiles={"tile": np.array([1.5, 2.5]), "dab_od": np.zeros(0)},
            stained={"piece": np.array([1.0, 2.0]), "bodies": np.zeros(0)},
            cells=12,
            unreadable_px=0,
            scored_px=4096,
            seconds={"read": 0.1 + 0.2},
            ended_block=True,
        ),
        TileOutcome(3, TILES, 64, 2, {"read": 1e-17}),
        TileOutcome(4, {}, 0, 0, {}),
        StainOutcome(5, 6, {"stain": 0.25}),
    ],
)
def test_an_outcome_comes_back_as_it_was(outcome: Any, tmp_path: Path) -> None:
    write_outcome(tmp_path, 41, outcome)
    assert recorded(tmp_path) == {41: tmp_path / "000041.npz"}
    assert_equal(outcome, read_outcome(tmp_path / "000041.npz", type(outcome)))
    assert [path.name for path in tmp_path.iterdir()] == ["000041.npz"]


def test_damage_is_seen_wherever_it_is(tmp_path: Path) -> None:
    outcome = StainOutcome(5, 6, {"stain": 0.25})
    write_outcome(tmp_path, 1, outcome)
    path = tmp_path / "000001.npz"
    whole = path.read_bytes()
    at = whole.index(b'"scored_px": 5') + len('"scored_px": ')
    changed = whole[:at] + b"9" + whole[at + 1 :]
    for content in (b"", whole[: len(whole) // 2], whole[:-1], bytes(len(whole)), changed):
        path.write_bytes(content)
        assert read_outcome(path, StainOutcome) is None
    path.write_bytes(whole)
    assert_equal(outcome, read_outcome(path, StainOutcome))


def test_a_record_of_another_class_is_none(tmp_path: Path) -> None:
    class Other(NamedTuple):
        region: int

    write_outcome(tmp_path, 1, StainOutcome(5, 6, {}))
    assert read_outcome(tmp_path / "000001.npz", Other) is None
    assert read_outcome(tmp_path / "000002.npz", StainOutcome) is None


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    @dataclass
    class Trap:
        values: dict[str, Any]

    path = tmp_path / "000001.npz"
    np.savez(path, **{"plain": np.frombuffer(b"{}", np.uint8), "values/x": np.array([object()])}, allow_pickle=True)
    assert read_outcome(path, Trap) is None


def test_a_half_written_record_is_not_there(tmp_path: Path) -> None:
    (tmp_path / ".000003.npz.77-1.tmp").write_bytes(b"half")
    (tmp_path / "key.json").write_text("{}")
    assert recorded(tmp_path) == {}
