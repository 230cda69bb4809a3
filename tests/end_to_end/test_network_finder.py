"""Cells found by a network: the same however the work is spread and cut, said where it cannot be, and recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.said import own_words
from tests.models.cell_network_file import write_cell_network

pytestmark = pytest.mark.slow

NETWORK = ("--set", "cells.finder=network", "--evidence", "cells")
COLUMNS = ("x_l0", "y_l0", "class_index", "tumour", "completeness", "nucleus_area_um2")


def by_place(outcome: Any) -> np.ndarray:
    """Return the cells of a run, (N, 6), by place."""
    cells = outcome.table("cells.parquet")
    rows = np.stack([cells[name].astype(np.float64) for name in COLUMNS], axis=1)
    return rows[np.lexsort((rows[:, 0], rows[:, 1]))]


def test_neither_workers_nor_regions_change_a_cell(samples: Path, score: Callable[..., Any], tmp_path: Path) -> None:
    weights = ("--weights", write_cell_network(tmp_path / "weights"))
    slide = samples / "phantom_2plus.svs"
    whole = score(slide, tmp_path / "whole", *NETWORK, *weights)
    assert whole.code == 0, whole.stderr
    spread = score(
        slide, tmp_path / "spread", *NETWORK, *weights, "--set", "tiling.region_tiles=1", "--set", "engine.workers=2",
        serial=False,
    )  # fmt: skip
    assert spread.code == 0, spread.stderr
    assert spread.result["provenance"]["engine"]["executor"] == "dask local cluster"
    expected, found = by_place(whole), by_place(spread)
    assert len(expected) > 300
    np.testing.assert_array_equal(found[:, :4], expected[:, :4])
    np.testing.assert_allclose(found[:, 4:], expected[:, 4:], rtol=1e-3, atol=1e-4)
    assert spread.result["shares"] == whole.result["shares"]


def test_the_record_names_the_finder_and_its_weights(samples: Path, score: Callable[..., Any], tmp_path: Path) -> None:
    weights = write_cell_network(tmp_path / "weights")
    sha256 = hashlib.sha256((weights / "cellnet.onnx").read_bytes()).hexdigest()
    outcome = score(samples / "phantom_null.svs", tmp_path / "out", *NETWORK, "--weights", weights)
    assert outcome.code == 0, outcome.stderr
    provenance = outcome.result["provenance"]
    assert provenance["cell_finder"] == {"finder": "network", "network": "cellnet", "sha256": sha256, "mpp": 0.5}
    assert provenance["settings"]["cells"]["finder"] == "network"
    assert f"cells: found by the network cellnet ({sha256[:12]})" in outcome.stderr
    classical = score(samples / "phantom_null.svs", tmp_path / "classical", "--evidence", "cells")
    assert classical.result["provenance"]["cell_finder"] == {"finder": "classical"}
    assert classical.result["provenance"]["settings_sha256"] != provenance["settings_sha256"]


def test_a_network_that_cannot_be_run_is_said_and_done_without(
    samples: Path, score: Callable[..., Any], tmp_path: Path
) -> None:
    weights = write_cell_network(tmp_path / "weights")
    (weights / "cellnet.onnx").write_bytes(b"no network")
    outcome = score(samples / "phantom_3plus.svs", tmp_path / "out", *NETWORK, "--weights", weights)
    assert outcome.code == 0, outcome.stderr
    sentence = (
        "nuclei were found by the classical finder, because the network of cells cannot be used: it cannot be run"
    )
    assert any(warning.startswith(sentence) for warning in outcome.result["warnings"])
    assert any(line.startswith(sentence) for line in own_words(outcome.stderr))
    assert outcome.result["provenance"]["cell_finder"]["finder"] == "classical"
    assert str(tmp_path) not in json.dumps(outcome.result["provenance"]["cell_finder"])
    classical = score(samples / "phantom_3plus.svs", tmp_path / "classical", "--evidence", "cells")
    assert outcome.result["shares"] == classical.result["shares"]
