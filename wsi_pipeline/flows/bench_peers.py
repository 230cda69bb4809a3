"""Whole runs of the product beside whole runs of other pipelines: the same network, slide and number of processors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.engine.interface import usable_processors
from wsi_pipeline.errors import NothingToMeasureError, UsageError
from wsi_pipeline.flows import peers
from wsi_pipeline.flows.bench import scratch_folder
from wsi_pipeline.flows.bench_programs import run_program
from wsi_pipeline.flows.bench_rounds import drawn_boxes
from wsi_pipeline.flows.bench_sides import SideRecord, in_turns, rate, ratio
from wsi_pipeline.flows.bench_work import tissue_tiles
from wsi_pipeline.flows.networks import Chosen, find_network
from wsi_pipeline.flows.plan import plan_run
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import open_request
from wsi_pipeline.flows.survey import survey_slide
from wsi_pipeline.geometry import Box
from wsi_pipeline.models.extra import require_models_extra
from wsi_pipeline.tiling import make_grid

Peer = Literal["tiatoolbox", "wsinfer"]

ANSWER_S = 120.0
"""How long an interpreter may take to say whether it has a package."""

LEAST_LONGER = 0.2
"""By which share a run has to take longer than one of a single tile, that the difference says anything."""

PROCESSORS_ONLY = {"CUDA_VISIBLE_DEVICES": ""}
"""What both sides are given, so that neither takes a GPU."""


class PeerOptions(BaseModel):
    """How a peer is run: what was quickest on two processors, among what its documentation names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: Path = Field(Path(sys.executable), description="interpreter in which the peer is installed")
    batch_tiles: int = Field(4, ge=1, description="tiles in a batch")
    loaders: int = Field(2, ge=1, description="processes that read and prepare tiles")
    compile: bool = Field(False, description="whether the peer has torch compile the network")


class Order(BaseModel):
    """What the peer's program is told, as JSON."""

    model_config = ConfigDict(frozen=True)

    folder: str
    out: str
    model: str
    report: str
    batch_tiles: int
    workers: int
    threads: int
    compile: bool


@dataclass
class _Ours:
    """Whole runs of the product as its users start them. `starts`: s, those of a single tile."""

    request: ScoreRequest
    folder: Path
    single: Path
    tiles: int = 0
    starts: list[float] = field(default_factory=list)

    def turn(self) -> float:
        """Run the command on one tile and on the slide, and return how long the latter took, s. Raises UsageError."""
        self.starts.append(self._run(self.single))
        return self._run()

    def _run(self, roi: Path | None = None) -> float:
        """Run the command once."""
        out, settings = self.folder / "ours", self.folder / "settings.yaml"
        settings.write_text(json.dumps(self.request.settings.model_dump(mode="json")), encoding="utf-8")
        command = [
            sys.executable, "-m", "wsi_pipeline.cli.main", "run", str(self.request.slide.resolve()), "-o", str(out),
            "--preset", str(settings), "--reader", self.request.reader, "--stain", self.request.stain,
        ]  # fmt: skip
        for name, value in (
            ("--mpp", self.request.mpp), ("--assume-mpp", self.request.assume_mpp), ("--roi", roi),
            ("--weights", self.request.weights_folder), ("--scheduler", self.request.scheduler),
        ):  # fmt: skip
            command += [name, str(value)] if value is not None else []
        done = run_program(command, os.environ | PROCESSORS_ONLY)
        if done.code not in {0, 3}:
            raise UsageError(self.request.slide, f"the run beside the peer failed: {done.last_words}")
        if roi is None:
            found = json.loads((out / "result.json").read_text(encoding="utf-8"))["tiles"]
            self.tiles = found["classified"] if found else 0
        shutil.rmtree(out)
        if roi is None and not self.tiles:
            raise NothingToMeasureError(self.request.slide, "no tile holds enough tissue for the classifier")
        return done.seconds


@dataclass
class _Theirs:
    """Whole runs of a peer. `inference_s`: from the first batch to the end, s, of each run."""

    peer: Peer
    python: Path
    order: Order
    tiles: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    inference_s: list[float] = field(default_factory=list)

    def turn(self) -> float:
        """Run the peer once, and return how long it took, s. Raises UsageError where it fails or finds nothing."""
        shutil.rmtree(self.order.out, ignore_errors=True)
        report = Path(self.order.report)
        report.unlink(missing_ok=True)
        paper = report.with_name("order.json")
        paper.write_text(self.order.model_dump_json(), encoding="utf-8")
        program = Path(peers.__path__[0]) / "drive.py"
        home = report.with_name("home")  # WSInfer keeps its list of models there
        (home / ".wsinfer-zoo").mkdir(parents=True, exist_ok=True)
        offline = os.environ | PROCESSORS_ONLY | {"HOME": str(home), "HF_HUB_OFFLINE": "1"}
        done = run_program([str(self.python), str(program), self.peer, str(paper)], offline)
        if done.code or not report.exists():
            raise UsageError(f"--compare {self.peer}", f"it failed: {done.last_words}")
        said: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        if not said["tiles"]:
            raise UsageError(f"--compare {self.peer}", "it found no tile with tissue", "compare on another slide")
        self.tiles, self.versions = said["tiles"], said["versions"]
        self.inference_s.append(max(said["ended"] - said["first_batch"], 1e-3))
        return done.seconds


def compare_peer(request: ScoreRequest, peer: Peer, options: PeerOptions, repeats: int) -> SideRecord:
    """Run the product with a classifier of tiles alone, and the peer with the same network, in turns, start included.

    Works in a hidden folder in the request's `out`. Without start, the peer's time begins with its first batch; ours is
    what a run takes longer than one of a single tile. Each side finds its own tissue, so each side's own tiles are
    counted. Raises UsageError, WeightsError, OutputError, NothingToMeasureError.
    """
    chosen = find_network("classifier", request.settings, request.weights_folder)
    with scratch_folder(request.out) as folder:
        models = request.settings.models.model_copy(update={"classifier": chosen.network.name})
        settings = request.settings.model_copy(update={"evidence": "tiles", "models": models})
        own = replace(request, settings=settings, stain="ihc")
        single = folder / "single.geojson"
        single.write_text(json.dumps(drawn_boxes([one_tile(own, folder)])), encoding="utf-8")
        ours = _Ours(own, folder, single)
        theirs = _Theirs(peer, options.python, _order(request, chosen, options, folder))
        ours_s, theirs_s = in_turns(repeats, ours.turn, theirs.turn)
    return SideRecord(
        name=peer,
        what=f"whole runs with {chosen.manifest.name} on {usable_processors()} processors, start included; {peer} with "
        f"batches of {options.batch_tiles}, {options.loaders} loaders, {'compiled' if options.compile else 'as it is'}",
        ours_tiles_per_s=rate(ours.tiles, ours_s),
        theirs_tiles_per_s=rate(theirs.tiles, theirs_s),
        ratio=ratio((ours.tiles, ours_s), (theirs.tiles, theirs_s)),
        ours_tiles=ours.tiles,
        theirs_tiles=theirs.tiles,
        ours_seconds=ours_s,
        theirs_seconds=theirs_s,
        ours_tiles_per_s_without_start=rate_without_start(ours.tiles, ours_s, ours.starts),
        theirs_tiles_per_s_without_start=rate(theirs.tiles, tuple(theirs.inference_s)),
        theirs_versions=theirs.versions,
    )


def rate_without_start(tiles: int, seconds: Sequence[float], starts: Sequence[float]) -> float | None:
    """Return tiles per second of what runs take longer than runs of a single tile; None where that is mostly noise."""
    longer = median(whole - start for whole, start in zip(seconds, starts, strict=True))
    return (tiles - 1) / longer if longer > LEAST_LONGER * median(starts) else None


def _order(request: ScoreRequest, chosen: Chosen, options: PeerOptions, folder: Path) -> Order:
    """Put slide and network where the peer finds them, and return what it is told."""
    from wsi_pipeline.models.export_wsinfer import export_wsinfer  # noqa: PLC0415 - torch is heavy
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415

    slides = folder / "slides"
    slides.mkdir()
    (slides / request.slide.name).symlink_to(request.slide.resolve())
    export_wsinfer(load_model(chosen.network.name, chosen.network.folder), folder / "model")
    return Order(
        folder=str(slides), out=str(folder / "theirs"), model=str(folder / "model"),
        report=str(folder / "report.json"), batch_tiles=options.batch_tiles, workers=options.loaders,
        threads=usable_processors(), compile=options.compile,
    )  # fmt: skip


def one_tile(request: ScoreRequest, folder: Path) -> Box:
    """Return the place of one tile of the classifier that is full of tissue, level-0 px.

    Raises NothingToMeasureError where there is none.
    """
    with open_request(request) as slide:
        grid = make_grid(slide.info.size_l0, slide.info.mpp, request.settings.tiling)
        survey = survey_slide(slide, grid, request)
        plan = plan_run(request, slide.info, survey, grid, folder)
    if plan.tile_grid is not None:
        for region in survey.regions(plan.tile_grid):
            for tile in tissue_tiles(survey, plan.tile_grid, region, full=True):
                return plan.tile_grid.shown(tile)
    raise NothingToMeasureError(request.slide, "no tile is full of tissue")


def require_peer(peer: Peer, python: Path) -> None:
    """Raise UsageError unless the interpreter is there and has the peer, WeightsError where networks cannot be run.

    Networks are not looked for yet, since that takes a run a second that a benchmark measures.
    """
    require_models_extra()
    question = f"import importlib.util, sys; sys.exit(not importlib.util.find_spec({peer!r}))"
    try:
        done = run_program([str(python), "-c", question], os.environ, ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"--peer-python {python}", "cannot be run", "name a Python interpreter") from error
    if done.code:
        where = f"name an interpreter that has it: --peer-python {peer}=PATH"
        raise UsageError(f"--compare {peer}", f"{peer} is not installed in {python}", where)
