"""Print how many tiles of 256 px the networks do per second on this machine's processors, both sides in one run.

Weights are random (speed does not depend on them). Every figure is the median of several rounds in which the variants
take turns. Networks run on one thread, as in the product's workers, so that the processor's time tells what an idle
machine would do, also while others use it.

Usage: python tests/bench/network_rate.py [--rounds 5] [--parts abc] [--window 1024] [--slide FILE]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from wsi_pipeline.engine.interface import usable_processors
from wsi_pipeline.explain.looking import Look, look_through
from wsi_pipeline.geometry import Box, Size, cut
from wsi_pipeline.models.architectures import build
from wsi_pipeline.models.classify import TileRunner
from wsi_pipeline.models.converted import ConvertedClassifier
from wsi_pipeline.models.load import LoadedModel, load_model
from wsi_pipeline.models.machine import openvino_precisions
from wsi_pipeline.models.manifest import ARCHITECTURES, Architecture, ModelCard
from wsi_pipeline.models.options import ModelOptions
from wsi_pipeline.models.preprocess import network_input
from wsi_pipeline.models.pspstain import Generator
from wsi_pipeline.models.registry import find_weights
from wsi_pipeline.models.runtime import OPENVINO_BATCH, Runtime, choose_runtime
from wsi_pipeline.models.save import save_weights
from wsi_pipeline.models.seamless import SeamlessStainer
from wsi_pipeline.slide import RescaledSlide, open_slide
from wsi_pipeline.training.phantom import make_phantom, random_options, write_slide

TILE_PX, MODEL_MPP = 256, 0.5
AREA_PX = 2048
"""Side of the area that is done in a round, model px: 64 tiles."""

PLAIN_BATCH = 16
State = dict[str, object]
STATE: State = {}
"""What a worker process keeps between tasks."""


def main() -> None:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", default="abc", help="which of the three tables")
    parser.add_argument("--window", type=int, default=1024, help="side of what is stained at once in (a), px")
    parser.add_argument("--slide", type=Path, help="an H&E slide; without it a made-up one is painted")
    arguments = parser.parse_args()
    cores = usable_processors()
    print(f"{cores} processors, torch {torch.__version__}, {arguments.rounds} rounds, weights random")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for architecture in ARCHITECTURES:
            torch.manual_seed(1)
            card = ModelCard(name=architecture, mpp=MODEL_MPP, licence="CC0-1.0")
            save_weights(build(architecture).eval().state_dict(), architecture, card, folder)
        slide = arguments.slide or painted(folder)
        if "a" in arguments.parts:
            end_to_end(slide, folder, cores, arguments)
        torch.set_num_threads(1)
        if "b" in arguments.parts:
            classifiers(slide, folder, arguments.rounds)
        if "c" in arguments.parts:
            generators(slide, folder, arguments.rounds)


def painted(folder: Path) -> Path:
    """Paint an H&E slide at 0.25 um/px, a little larger than the area, and return where it lies."""
    phantom = make_phantom(random_options(7, "2+", (2 * AREA_PX + 330, 2 * AREA_PX + 210)))
    return write_slide(phantom, folder / "he.svs", stain="he")


def view_of(slide: Path) -> RescaledSlide:
    """Return the slide at the networks' pixel size."""
    return RescaledSlide(open_slide(slide), MODEL_MPP)


def stainer_of(folder: Path, architecture: Architecture, runtime: Runtime) -> SeamlessStainer:
    """Return a stainer of these weights."""
    return SeamlessStainer(cast("Generator", load_model(architecture, folder).network), runtime)


def start_worker(slide: Path, folder: Path) -> None:
    """Load everything once per process, as a worker of the product does."""
    torch.set_num_threads(1)
    options = ModelOptions(device="cpu")
    stainer = stainer_of(folder, "pspstain-light", choose_runtime("pspstain-light", options))
    runtime = choose_runtime("ihcnet-light", options)
    look = look_through("ihcnet-light", folder, runtime, options.batch_tiles)
    STATE.update(view=view_of(slide), stainer=stainer, look=look)


def stain_and_classify(box: Box) -> tuple[float, float, float, float]:
    """Read, stain and classify one window, model px; return the seconds of each, and the processor's in all."""
    view, look = cast("RescaledSlide", STATE["view"]), cast("Look", STATE["look"])
    reading, processor = [0.0], time.process_time()

    def read(window: Box) -> np.ndarray:
        start = time.perf_counter()
        pixels = view.read(window)
        reading[0] += time.perf_counter() - start
        return pixels

    start = time.perf_counter()
    image = cast("SeamlessStainer", STATE["stainer"]).stain(read, box)
    middle = time.perf_counter()
    look(tiles_of(image))
    seconds = reading[0], middle - start - reading[0], time.perf_counter() - middle
    return *seconds, time.process_time() - processor


def tiles_of(image: np.ndarray) -> np.ndarray:
    """Return the whole tiles of an image, (T, 256, 256, 3)."""
    boxes = cut(Size(image.shape[1] // TILE_PX * TILE_PX, image.shape[0] // TILE_PX * TILE_PX), TILE_PX)
    return np.stack([image[box.y : box.bottom, box.x : box.right] for box in boxes])


def end_to_end(slide: Path, folder: Path, cores: int, arguments: argparse.Namespace) -> None:
    """Print the rate of light generator and light classifier from the file to the logits, one process per core."""
    boxes = list(cut(Size(AREA_PX, AREA_PX), arguments.window))
    tiles = (AREA_PX // TILE_PX) ** 2
    context = multiprocessing.get_context("spawn")
    with context.Pool(cores, start_worker, (slide, folder)) as pool:
        pool.map(stain_and_classify, boxes, chunksize=1)
        rates, stages = [], []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            stages += pool.map(stain_and_classify, boxes, chunksize=1)
            rates.append(tiles / (time.perf_counter() - start))
    read, stain, classify, busy = (1e3 * value * len(boxes) / tiles for value in np.median(stages, axis=0))
    print(f"\n(a) H&E from the file: read, stain (light), classify (light), windows of {arguments.window} px")
    print(f"{statistics.median(rates):8.1f} tiles/s on {cores} processors ({min(rates):.1f} to {max(rates):.1f})")
    print(f"         of a tile's time: read {read:.1f} ms, stain {stain:.1f} ms, classify {classify:.1f} ms")
    print(f"{1e3 * cores / busy:8.1f} tiles/s by processor time ({busy:.1f} ms per tile): where nothing else runs")


class Seconds(NamedTuple):
    """Of one call, by the clock and of the processor."""

    wall: float
    processor: float


def take_turns(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, Seconds]:
    """Return the median seconds of each variant; each has run once before."""
    measured: dict[str, list[Seconds]] = {name: [] for name in variants}
    for round_ in range(rounds + 1):
        for name, work in variants.items():
            wall, processor = time.perf_counter(), time.process_time()
            work()
            if round_:
                measured[name].append(Seconds(time.perf_counter() - wall, time.process_time() - processor))
    return {name: Seconds(*np.median(values, axis=0)) for name, values in measured.items()}


def row(name: str, tiles: float, seconds: dict[str, Seconds], apart: str) -> None:
    """Print one row: rates per core, and how many times the first variant's."""
    own, first = seconds[name], next(iter(seconds.values()))
    times = first.processor / own.processor
    print(f"{tiles / own.processor:7.1f} (clock {tiles / own.wall:5.1f}) tiles/s {times:4.1f} x  {apart}  {name}")


def classifiers(slide: Path, folder: Path, rounds: int) -> None:
    """Print rates of both classifiers, OpenVINO against torch on the same tiles, and how the logits agree."""
    tiles = tiles_of(view_of(slide).read(Box(128, 128, 4 * TILE_PX, 6 * TILE_PX)))
    for architecture in ("ihcnet", "ihcnet-light"):
        loaded = load_model(architecture, folder)
        runners: dict[str, TileRunner | ConvertedClassifier] = {
            f"torch {precision}": TileRunner(loaded, Runtime("cpu", precision), 64) for precision in ("fp32", "bf16")
        }
        weights = find_weights(architecture, folder)
        for precision in sorted(openvino_precisions(), reverse=True):
            runtime = Runtime("cpu", precision, "openvino")
            runners[f"openvino {precision}"] = ConvertedClassifier(weights, runtime, OPENVINO_BATCH)
        variants: dict[str, Callable[[], object]] = {"plain torch fp32": partial(plain, loaded, tiles)}
        variants |= {name: partial(runner.answer, tiles) for name, runner in runners.items()}
        seconds = take_turns(variants, rounds)
        exact = plain(loaded, tiles)
        print(f"\n(b) {architecture}, {len(tiles)} tiles in memory, one core")
        for name in seconds:
            logits = runners[name].answer(tiles).logits if name in runners else exact
            apart = np.abs(logits - exact).max() / exact.std(axis=0).mean()
            row(name, len(tiles), seconds, f"logits apart {apart:.0e} of their spread")


def plain(loaded: LoadedModel, tiles: np.ndarray) -> np.ndarray:
    """Return the logits as torch gives them without any of our preparation, in batches of PLAIN_BATCH."""
    with torch.inference_mode():
        starts = range(0, len(tiles), PLAIN_BATCH)
        batches = (torch.from_numpy(tiles[start : start + PLAIN_BATCH]) for start in starts)
        return torch.cat([loaded.network(network_input(batch, loaded.manifest)) for batch in batches]).numpy()


def generators(slide: Path, folder: Path, rounds: int) -> None:
    """Print rates of both generators in fp32 and bf16, halo included, and how the pictures agree."""
    view = view_of(slide)
    for architecture, side in (("pspstain", 512), ("pspstain-light", 1024)):
        box = Box(128, 128, side, side)
        stainers = {
            f"torch {precision}": stainer_of(folder, architecture, Runtime("cpu", precision))
            for precision in ("fp32", "bf16")
        }
        exact = stainers["torch fp32"]
        field = exact.calibrate(view.read, view.size, lambda _box: True, None, 1) if exact.needs_calibration else None
        variants: dict[str, Callable[[], object]] = {
            name: partial(stainer.stain, view.read, box, field) for name, stainer in stainers.items()
        }
        seconds = take_turns(variants, rounds)
        picture = exact.stain(view.read, box, field).astype(int)
        print(f"\n(c) {architecture}, windows of {side} px with halo, one core")
        for name in seconds:
            apart = np.abs(stainers[name].stain(view.read, box, field) - picture).mean()
            row(name, (side / TILE_PX) ** 2, seconds, f"{apart:.2f} grey levels apart")


if __name__ == "__main__":
    main()
