"""What a map shows of real tissue adds up to what the network says of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")

PROGRAM = Path(__file__).resolve().parents[1] / "bench" / "explanations.py"


@pytest.mark.real
def test_maps_of_60_real_tiles_add_up_and_have_the_right_sign(real_data: Path) -> None:
    words = [sys.executable, str(PROGRAM), "--data", str(real_data)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("60 real tiles")
