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
