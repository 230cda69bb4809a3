"""`wsi-her2 models export` as people type it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsi_pipeline.installation import install_line

pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("torchvision", reason="the extra `models` is not installed")
pytest.importorskip("safetensors", reason="the extra `models` is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load")

Make = Callable[..., Any]
Run = Callable[..., tuple[int, str, str]]


def test_command_writes_onnx_and_says_what_goes_in(wsi_her2: Run, make: Make, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    make("pspstain")
    out = tmp_path / "stainer.onnx"
    words = ("models", "export", "toy-pspstain", "--format", "onnx", "-o", out, "--weights", make.folder)
    code, shown, _ = wsi_her2(*words)
    assert code == 0
    first, *rest = shown.splitlines()
    assert first == f"toy-pspstain: ONNX, opset 18, written to {out}"
    assert rest[0] == "input: RGB float32 0-1, (B, 3, H, W); H and W multiples of 4, at least 8"
    assert rest[1] == "output: RGB float32 0-1, the shape of the input"
    assert rest[2].startswith("windows: Each window is normalised by itself (InstanceNorm)")
    assert out.stat().st_size > 30_000_000
    code, shown, err = wsi_her2(*words)
    assert (code, shown, err.count("\n")) == (2, "", 1)
    assert "exists already" in err


def test_command_writes_a_wsinfer_folder_or_refuses_in_a_line(wsi_her2: Run, make: Make, tmp_path: Path) -> None:
    make("ihcnet-light")
    make("pspstain-light")
    common = ("--format", "wsinfer", "-o", tmp_path / "her2", "--weights", make.folder)
    code, out, err = wsi_her2("models", "export", "toy-pspstain-light", *common)
    assert (code, out) == (2, "")
    assert err == (
        "wsi-her2: toy-pspstain-light: is a generator (pspstain-light), and WSInfer runs classifiers only "
        "(use --format onnx)\n"
    )
    code, out, _ = wsi_her2("models", "export", "toy-ihcnet-light", *common)
    folder = tmp_path / "her2"
    assert (code, out) == (
        0, f"toy-ihcnet-light: config.json and torchscript_model.pt for WSInfer and QuPath, written to {folder}\n"
    )  # fmt: skip
    code, _, err = wsi_her2("models", "export", "absent", *common)
    assert code == 11
    assert err.startswith("wsi-her2: absent: no such weights in ")


def test_command_without_torch_says_what_to_install(
    wsi_her2: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    code, _, err = wsi_her2("models", "export", "toy", "--format", "onnx", "-o", tmp_path / "toy.onnx")
    assert code == 11
    assert f"not installed (type: {install_line('models')})" in err
