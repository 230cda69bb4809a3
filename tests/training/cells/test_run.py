"""The command: a killed training that goes on ends with the same network, and the network is one that runs use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REASON = "needs the train extra: pip install '.[train]'"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("onnx", reason="needs the onnx extra: pip install '.[onnx]'")
for package in ("torchvision", "safetensors", "matplotlib"):
    pytest.importorskip(package, reason=REASON)

from tests.training.cells.photographs import write_photographs, write_real  # noqa: E402
from tests.training.killing import kill_after  # noqa: E402
from wsi_pipeline.models.cell_network import HALO_PX, CellNetwork, find_cell_weights  # noqa: E402
from wsi_pipeline.models.cellnet import CellNet, folded  # noqa: E402

SHORT = (
    "steps=9", "scenes=1", "scene_px=256", "window_px=64", "batch_size=2", "checkpoint_steps=2", "drawn_share=0.5",
)  # fmt: skip


def command(material: Path, out: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "wsi_pipeline.cli.main", "train", "cells", "--nuclei", str(material / "nuclei")]
    words += ["--real", str(material / "real"), "-o", str(out), *more]
    return words + [word for setting in SHORT for word in ("--set", setting)]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_photographs(folder / "nuclei")
    write_real(folder / "real")
    return folder


def test_killed_and_resumed_it_ends_the_same(material: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = subprocess.run(command(material, whole), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 3 <= kill_after(5, broken, command(material, broken), dict(os.environ)) < 9
    refused = subprocess.run(command(material, broken), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "holds a training already (go on with --resume, or choose another --out)" in refused.stderr
    resumed = subprocess.run(command(material, broken, "--resume"), capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert (broken / "cellnet.onnx").read_bytes() == (whole / "cellnet.onnx").read_bytes()
    assert (broken / "steps.csv").read_text() == (whole / "steps.csv").read_text()
    card = (whole / "cellnet.md").read_text()
    assert "Trained 9 steps on 1 phantoms, 7 photographs" in card
    assert "1 pictures of real tissue" in card
    network = CellNetwork(find_cell_weights(whole))
    assert network(np.zeros((3, 24, 40), np.float32)).shape == (4, 24, 40)


def trained_like() -> CellNet:
    """Return a network whose BatchNorm has statistics of its own."""
    torch.manual_seed(2)
    network = CellNet().train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, 64, 96))
    return network.eval()


def test_folding_changes_no_answer_and_windows_agree() -> None:
    network = trained_like()
    alone = folded(network)
    density = torch.rand(1, 3, 2 * HALO_PX + 64, 2 * HALO_PX + 88)
    with torch.inference_mode():
        whole = alone(density)
        torch.testing.assert_close(whole, network(density), rtol=1e-3, atol=1e-4)
        part = alone(density[..., 24:, 16:])
    inner = slice(HALO_PX, -8)
    torch.testing.assert_close(part[..., inner, inner], whole[..., 24:, 16:][..., inner, inner], rtol=0, atol=1e-5)


def test_no_pixel_looks_farther_than_the_halo() -> None:
    network = folded(trained_like())
    side = 2 * HALO_PX + 48
    density = torch.rand(1, 3, side, side + 8, requires_grad=True)
    for place in (HALO_PX + 16, HALO_PX + 23):
        (gradient,) = torch.autograd.grad(network(density)[0, :, place, place].sum(), density)
        rows, columns = torch.nonzero(gradient.abs().sum(dim=(0, 1)), as_tuple=True)
        assert max(int((found - place).abs().max()) for found in (rows, columns)) <= HALO_PX
