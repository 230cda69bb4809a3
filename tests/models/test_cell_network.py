"""The network of cells: found, verified, tried before it is trusted, and no less than what it should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models.cell_network_file import REACH_PX, write_cell_network
from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models import registry
from wsi_pipeline.models.cell_network import CellNetwork, find_cell_weights


def test_it_answers_pixel_by_pixel_whatever_the_cut(tmp_path: Path) -> None:
    network = CellNetwork(find_cell_weights(write_cell_network(tmp_path / "weights")))
    density = np.random.default_rng(1).random((3, 104, 72)).astype(np.float32)
    whole = network(density)
    assert whole.shape == (4, 104, 72)
    assert whole.dtype == np.float32
    part = network(density[:, 32:88, 16:64])
    inside = slice(REACH_PX, -REACH_PX)
    np.testing.assert_array_equal(part[:, inside, inside], whole[:, 32:88, 16:64][:, inside, inside])


def test_what_is_no_sound_network_of_cells_is_refused(tmp_path: Path) -> None:
    changed = find_cell_weights(write_cell_network(tmp_path / "changed"))
    changed.path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="changed while the run went on"):
        CellNetwork(changed)
    with pytest.raises(WeightsError, match="cannot be run on this machine") as caught:
        CellNetwork(find_cell_weights(tmp_path / "changed"))
    assert str(tmp_path) not in caught.value.problem, "records name no place on a disk"
    with pytest.raises(WeightsError, match="does not answer as a network of cells does"):
        CellNetwork(find_cell_weights(write_cell_network(tmp_path / "other", outputs=3)))


def test_a_network_that_is_nowhere_is_missed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "shipped_folder", lambda: tmp_path / "shipped")
    with pytest.raises(WeightsError, match=r"cellnet\.onnx: it is in none of the folders of weights"):
        find_cell_weights()
