"""A batch with networks, stopped in each of its passes and taken up: the same results, to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("torchvision", reason="needs the models extra: pip install '.[models]'")
pytest.importorskip("safetensors", reason="needs the models extra: pip install '.[models]'")

from wsi_pipeline.config import load_settings  # noqa: E402
from wsi_pipeline.flows.batch import run_batch  # noqa: E402
from wsi_pipeline.flows.batch_plan import plan_batch  # noqa: E402
from wsi_pipeline.flows.batch_request import BatchRequest  # noqa: E402
from wsi_pipeline.flows.batch_rows import SlideRow  # noqa: E402
from wsi_pipeline.flows.request import ScoreRequest  # noqa: E402
from wsi_pipeline.models.light_ihcnet import LightIHCNet  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402
from wsi_pipeline.training.phantom import PhantomOptions, make_phantom, write_slide  # noqa: E402

pytestmark = pytest.mark.slow

MILD = {"quality.least_confidence": 0.0, "quality.most_brightness": 0.99, "quality.least_sharpness": 0.0}


class Stopper:
    """Watches a batch, and stops it when a stage has come so far."""

    def __init__(self, stage: str = "", done: int = 0) -> None:
        self.at = (stage, done)
        self.rows: list[SlideRow] = []

    def begin(self, slide: str) -> None: ...

    def say(self, line: str) -> None: ...

    def progress(self, slide: str, stage: str, done: int, total: int) -> None:  # noqa: ARG002
        if (stage, done) == self.at:
            raise KeyboardInterrupt

    def end(self, row: SlideRow, *, fresh: bool) -> None:  # noqa: ARG002
        self.rows.append(row)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(5)
    light = Generator(width=LIGHT_WIDTH, norm="folded").state_dict()
    save_weights(light, "pspstain-light", ModelCard(name="stainer", mpp=0.46, licence="none"), folder)
    tiles = LightIHCNet().eval().state_dict()
    save_weights(tiles, "ihcnet-light", ModelCard(name="tiles", mpp=0.5, licence="none"), folder)
    return folder


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = PhantomOptions(name="he", seed=3, width=1607, height=1109, mpp_y=0.26, mix={"3": 1.0}, stain="he")
    return write_slide(make_phantom(options), tmp_path_factory.mktemp("he") / "he.svs", "he")


def batch(slide: Path, out: Path, weights: Path, watcher: Stopper) -> list[SlideRow]:
    chosen = {"models.stainer": "stainer", "models.classifier": "tiles", "tiling.region_tiles": 1}
    settings = load_settings("serial", MILD | chosen)
    template = ScoreRequest(Path(), out, settings, weights_folder=weights)
    return run_batch(BatchRequest(plan_batch([str(slide)], out), out, template), watcher)


def contents(folder: Path) -> dict[str, Any]:
    """Return relative path -> content of the run folder, less clocks and what provenance says of the engine."""
    found: dict[str, Any] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")
                             if path.is_file()}  # fmt: skip
    found |= {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("maps/**/[0-9]*")
              if path.is_file()}  # fmt: skip
    record = json.loads(found.pop("result.json"))
    del record["provenance"]["engine"], record["provenance"]["seconds"]
    del found["project.qpproj"]  # says where it lies, and when it was made
    return found | {"result.json": record}


def test_stopped_in_every_pass_and_taken_up(slide: Path, weights: Path, tmp_path: Path) -> None:
    (row,) = batch(slide, tmp_path / "whole", weights, Stopper())
    assert row.virtual_stain
    assert "inferred from H&E" in row.message
    whole = contents(tmp_path / "whole" / "he")
    assert any(name.startswith("maps/virtual_ihc.ome.zarr/1/") for name in whole)
    assert "maps/cam_margin.ome.zarr/.zattrs" in whole
    out = tmp_path / "stopped"
    for stage, done in (("staining", 3), ("staining", 3), ("staining", 9), ("classifying", 2), ("measuring", 4)):
        with pytest.raises(KeyboardInterrupt):
            batch(slide, out, weights, Stopper(stage, done))
        assert not (out / "he").exists()
    batch(slide, out, weights, Stopper())
    engine = json.loads((out / "he" / "result.json").read_text(encoding="utf-8"))["provenance"]["engine"]
    assert engine["regions_taken_up"] > 4 + 2 + 9, "the outcomes of three passes"
    again = contents(out / "he")
    assert again.keys() == whole.keys()
    for name, content in whole.items():
        assert again[name] == content, name


def test_other_weights_score_once_more(slide: Path, weights: Path, tmp_path: Path) -> None:
    own = tmp_path / "weights"
    own.mkdir()
    for file in weights.iterdir():
        (own / file.name).write_bytes(file.read_bytes())
    (row,) = batch(slide, tmp_path / "out", own, Stopper())
    assert row.result == "he/result.json"
    torch.manual_seed(6)
    for file in own.glob("tiles*"):
        file.unlink()
    state = LightIHCNet().eval().state_dict()
    save_weights(state, "ihcnet-light", ModelCard(name="tiles", mpp=0.5, licence="none"), own)
    watcher = Stopper()
    (row,) = batch(slide, tmp_path / "out", own, watcher)
    assert row.result == "he-2/result.json"
    assert watcher.rows == [row]
