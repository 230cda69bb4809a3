"""A training that was killed goes on as if nothing had happened."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")

from tests.training.classifier import tiny  # noqa: E402
from tests.training.killing import kill_after  # noqa: E402
from wsi_pipeline.errors import UsageError, WeightsError  # noqa: E402
from wsi_pipeline.training.loop.checkpoint import read_checkpoint  # noqa: E402

Command = Callable[..., list[str]]
BATCHES = 5
"""Of an epoch of the tiny training; a checkpoint every 3 steps never coincides with its end before step 15."""


def test_a_kill_in_mid_epoch_leaves_no_trace(tmp_path: Path, command: Command, environment: dict[str, str]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    best = tiny.trainer(whole).train(resume=False, show=lambda *_: None)
    reached = kill_after(8, killed, command(killed, 0, 0.03), environment)
    assert reached < 4 * BATCHES
    assert read_checkpoint(killed / "checkpoint.pt")["position"][1] != 0, "killed at the end of an epoch"
    kill_after(12, killed, command(killed, 0, 0.03, "resume"), environment)
    done = subprocess.run(
        command(killed, 0, 0, "resume"), env=environment, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert done == f"{best.epoch} {best.loss!r}\n"
    for name in ("steps.csv", "curves.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    weights = [read_checkpoint(folder / "best.pt")["state"] for folder in (whole, killed)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert len((whole / "steps.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4 * BATCHES


def test_workers_change_no_number(tmp_path: Path, command: Command, environment: dict[str, str]) -> None:
    tiny.trainer(tmp_path / "here").train(resume=False, show=lambda *_: None)
    subprocess.run(command(tmp_path / "there", 1, 0), env=environment, check=True, capture_output=True)
    assert (tmp_path / "here" / "steps.csv").read_bytes() == (tmp_path / "there" / "steps.csv").read_bytes()


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    tiny.trainer(tmp_path, tiny.OPTIONS.model_copy(update={"epochs": 1})).train(resume=False, show=lambda *_: None)
    with pytest.raises(UsageError, match=r"was trained with epochs = 1, not 4"):
        tiny.trainer(tmp_path).train(resume=True, show=lambda *_: None)


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no checkpoint"):
        tiny.trainer(tmp_path).train(resume=True, show=lambda *_: None)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: is not a whole checkpoint"):
        tiny.trainer(tmp_path).train(resume=True, show=lambda *_: None)
