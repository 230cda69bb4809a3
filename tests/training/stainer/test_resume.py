"""A stainer training that was killed goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("torchvision", reason="the extra `models` is not installed")
pytest.importorskip("matplotlib", reason="the extra `train` is not installed")

from tests.training.killing import kill_after  # noqa: E402
from tests.training.stainer import tiny_pairs  # noqa: E402
from wsi_pipeline.errors import UsageError, WeightsError  # noqa: E402
from wsi_pipeline.training.loop.checkpoint import read_checkpoint  # noqa: E402
from wsi_pipeline.training.stainer.run import train_stainer  # noqa: E402

BATCHES = 5
"""Of an epoch of the tiny training; a checkpoint every 3 steps does not coincide with its end before step 15."""


def test_a_kill_in_mid_epoch_leaves_no_trace(
    tmp_path: Path, command: Callable[..., list[str]], environment: dict[str, str]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    wanted = train_stainer(tiny_pairs.request(whole))
    kill_after(8, killed, command(killed, 0.1), environment)
    position = read_checkpoint(killed / "checkpoint.pt")["position"]
    assert position[1] != 0, "killed at the end of an epoch"
    assert position[2] < 3 * BATCHES
    found = train_stainer(tiny_pairs.request(killed, resume=True))
    for name in ("steps.csv", "curves.csv", "table.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert found.sha256 == wanted.sha256
    assert len((whole / "steps.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 * BATCHES


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    short = tiny_pairs.OPTIONS.model_copy(update={"epochs": 1})
    train_stainer(tiny_pairs.request(tmp_path, short))
    (tmp_path / "tiny.json").unlink()
    weights = tiny_pairs.OPTIONS.losses.model_copy(update={"mlpa": 2.5})
    changed = short.model_copy(update={"losses": weights})
    with pytest.raises(UsageError, match=r"was trained with losses\.mlpa = 1\.0, not 2\.5"):
        train_stainer(tiny_pairs.request(tmp_path, changed, resume=True))


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no checkpoint"):
        train_stainer(tiny_pairs.request(tmp_path, resume=True))
