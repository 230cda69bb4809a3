"""What a machine has, asked in another process: the same as seen from within, and torch stays out of this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `models` is not installed")

from wsi_pipeline.models import machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _ask_anew() -> None:
    machine._asked.cache_clear()


def test_another_process_finds_the_same() -> None:
    asked = machine._asked()
    assert asked.capabilities == machine.cuda_capabilities()
    assert asked.processor_bf16 == machine.processor_has_bf16()
    assert frozenset(asked.openvino) == machine.openvino_precisions()


def test_a_choice_imports_neither_torch_nor_openvino() -> None:
    program = (
        "import sys; from wsi_pipeline.models.runtime import choose_runtime;"
        "from wsi_pipeline.models.options import ModelOptions;"
        "print(choose_runtime('ihcnet-light', ModelOptions()).device, *({'torch', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["cuda:0" if machine.cuda_capabilities() else "cpu"]


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "print('no JSON')", "pass"])
def test_where_no_process_answers_it_is_found_out_here(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PROGRAM", program)
    assert machine._asked() == machine.Machine(machine._cuda(), machine._processor_bf16(), machine._openvino())


def test_what_was_asked_ahead_is_heard_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    program = "print(); print('[[8], true, [\"bf16\"]]')"
    monkeypatch.setattr(machine, "PROGRAM", program)
    with machine.asked_ahead():
        (process,) = machine._ahead
        monkeypatch.setattr(machine, "PROGRAM", "raise SystemExit(3)")
        assert machine._asked() == machine.Machine((8,), True, ("bf16",))
    assert process.returncode == 0
    assert machine._ahead == []


def test_who_was_asked_for_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(machine, "PROGRAM", "import time; time.sleep(600)")
    with machine.asked_ahead():
        (process,) = machine._ahead
    assert process.returncode not in {None, 0}
    assert machine._ahead == []


def test_torch_that_is_here_is_asked_itself() -> None:
    import torch  # noqa: F401, PLC0415

    with machine.asked_ahead():
        assert machine._ahead == []
