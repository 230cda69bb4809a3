"""Windows to train with: the same for the same step, and true to what is known of each kind of picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra: pip install '.[train]'")

import torch

from tests.training.cells.photographs import write_photographs, write_real
from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.cells.options import CellTraining
from wsi_pipeline.training.cells.recolour import read_photographs, recoloured
from wsi_pipeline.training.cells.samples import Material, core_of, draw_batch, read_real
from wsi_pipeline.training.cells.scenes import draw_scene

OPTIONS = CellTraining(window_px=72, batch_size=12, seed=4)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    photographs, _ = read_photographs(write_photographs(folder / "nuclei"))
    return Material([draw_scene(5000, 256)], photographs, read_real(write_real(folder / "real")))


def test_a_step_always_draws_the_same(material: Material) -> None:
    first, again, next_ = (draw_batch(material, OPTIONS, step) for step in (7, 7, 8))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first.density, next_.density)
    assert first.density.shape == (12, 3, 72, 72)
    assert first.density.min() >= 0


def test_each_kind_counts_only_where_it_knows(material: Material) -> None:
    batches = [draw_batch(material, OPTIONS, step) for step in range(3)]
    cells = torch.cat([batch.knows_cells for batch in batches])
    epithelium = torch.cat([batch.knows_epithelium for batch in batches])
    kinds = {(bool(one), bool(two)) for one, two in zip(cells, epithelium, strict=True)}
    assert kinds == {(True, True), (True, False), (False, True)}
    nuclei = torch.cat([batch.nucleus for batch in batches])
    assert nuclei[~cells].sum() == 0
    assert nuclei[cells].mean() > 0.05


def test_a_scene_knows_its_nuclei_walls_and_nests() -> None:
    scene = draw_scene(5002, 256)
    assert scene.rgb.shape == (256, 256, 3)
    assert scene.nuclei.max() > 10
    nucleus = scene.nuclei > 0
    dark = 255 - scene.rgb.astype(float).mean(axis=2)
    assert dark[nucleus].mean() > dark[~nucleus & (scene.wall < 0.01)].mean()
    assert 0 < scene.nest.mean() < 1
    again = draw_scene(5002, 256)
    assert np.array_equal(scene.rgb, again.rgb)
    assert np.array_equal(scene.nuclei, again.nuclei)


def test_walls_lie_outside_nuclei_and_the_held_out_are_others(tmp_path: Path) -> None:
    train, held_out = read_photographs(write_photographs(tmp_path / "nuclei", 15))
    assert len(held_out) == 3, "every seventh"
    assert not {photograph.name for photograph in train} & {photograph.name for photograph in held_out}
    assert len(train) + len(held_out) == 15
    for seed in range(8):
        density, wall = recoloured(train[0], np.random.default_rng(seed))
        assert density.shape == (*train[0].nuclei.shape, 3)
        if wall.any():
            core = core_of(train[0].nuclei) > 0.6
            assert wall[core].mean() < 0.3 * wall[wall > 0.01].mean()


def test_cores_rise_from_0_to_1_inside_each_nucleus() -> None:
    labels = np.zeros((40, 56), np.int32)
    labels[5:18, 4:23], labels[22:37, 30:51], labels[0:1, 55:56] = 1, 3, 7
    core = core_of(labels)
    assert core[labels == 0].max() == 0
    assert core[labels == 1].max() == core[labels == 3].max() == 1
    assert 0 < core[labels == 7].max() < 1
    assert core[5, 4] < 0.3


def test_folders_that_hold_no_pairs_are_refused(tmp_path: Path) -> None:
    nuclei = write_photographs(tmp_path / "nuclei")
    (nuclei / "images" / "p3.jpg").unlink()
    with pytest.raises(UsageError, match=r"p3\.png: has no picture of its size in images"):
        read_photographs(nuclei)
    with pytest.raises(UsageError, match="holds too few pictures of nuclei"):
        read_photographs(write_photographs(tmp_path / "few", 3))
    with pytest.raises(UsageError, match="holds no real tissue"):
        read_real(nuclei / "images")
    real = write_real(tmp_path / "real")
    (real / "t.png").unlink()
    with pytest.raises(UsageError, match=r"t\.epithelium\.png: has no picture of its size beside it"):
        read_real(real)
