"""Print how fast the networks run on a CUDA device, stage by stage, and how much of the device that is.

Weights are random (speed does not depend on them). The floor of a network is its multiply-adds per tile
(docs/models.md) at the peak rate of a bf16 matrix product, which is measured in the same run. "busy" is the share of
the wall time between CUDA events around a stage's work; for the whole path the share in which kernels and copies run.

Usage: python tests/gpu/bench.py [--device cuda:0] [--rounds 20] [--compile no yes] [--slide FILE]
       python tests/gpu/bench.py --device cpu --rounds 1 --windows 64 --batches 2 --peak 512 --area 256   # only a trial
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from wsi_pipeline.geometry import Box, Size, cut
from wsi_pipeline.models.architectures import build
from wsi_pipeline.models.classify import TileRunner
from wsi_pipeline.models.ihcnet import TileClassifier
from wsi_pipeline.models.lane import send
from wsi_pipeline.models.load import LoadedModel, load_model
from wsi_pipeline.models.manifest import ARCHITECTURES, Architecture, Manifest, ModelCard
from wsi_pipeline.models.norm_field import NormField
from wsi_pipeline.models.prepared import prepared_generator, prepared_trunk
from wsi_pipeline.models.preprocess import image_pixels, network_input
from wsi_pipeline.models.pspstain import Generator
from wsi_pipeline.models.runtime import Runtime
from wsi_pipeline.models.save import save_weights
from wsi_pipeline.models.seamless import HALO_PX, SeamlessStainer
from wsi_pipeline.slide import RescaledSlide, open_slide
from wsi_pipeline.training.phantom import make_phantom, random_options, write_slide

TILE_PX, MODEL_MPP = 256, 0.5
GIGA_MACS = {"pspstain": 49.6, "pspstain-light": 3.35, "ihcnet": 4.29, "ihcnet-light": 0.385}
"""Multiply-adds per tile: 256 px for the generators, without halo; 224 px for the classifiers."""

STAINERS: tuple[Architecture, ...] = ("pspstain", "pspstain-light")
CLASSIFIERS: tuple[Architecture, ...] = ("ihcnet", "ihcnet-light")


class Timing(NamedTuple):
    """Median seconds of one call by the clock, and between CUDA events around its work (NaN without CUDA)."""

    wall: float
    device: float


def main() -> int:
    """Measure and print everything; return 1 where there is no CUDA device."""
    options = parsed()
    if options.device != "cpu" and not torch.cuda.is_available():
        print("there is no CUDA device: nothing was measured")
        return 1
    if options.device == "cpu":
        torch.set_num_threads(1)
        print("a trial on the processor: these figures say nothing about a GPU")
    else:
        print(torch.cuda.get_device_name(options.device))
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}, {options.precision}, {options.rounds} rounds")
    peak = peak_macs(options)
    print(f"peak of a {options.peak} x {options.peak} bf16 product: {2e-12 * peak:.1f} TFLOP/s")
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        models = {architecture: made(folder, architecture) for architecture in ARCHITECTURES}
        slide = options.slide or painted(folder, options.area)
        reading(slide, options)
        sending(options)
        for compiled in options.compile:
            staining(models, options, peak, compiled=compiled == "yes")
            classifying(models, options, peak, compiled=compiled == "yes")
        for stainer, classifier in zip(STAINERS, CLASSIFIERS, strict=True):
            if {stainer, classifier} <= set(options.networks):
                whole_path(slide, models[stainer], models[classifier], options)
    return 0


def parsed() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to try the program out")
    parser.add_argument("--precision", default="bf16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--networks", nargs="+", default=list(ARCHITECTURES), choices=ARCHITECTURES)
    parser.add_argument(
        "--windows", type=int, nargs="+", default=[512, 1024, 2048], help="sides of stained windows, px"
    )
    parser.add_argument("--window-batches", type=int, nargs="+", default=[1, 4], help="windows stained at once")
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512], help="tiles classified at once")
    parser.add_argument("--compile", nargs="+", default=["no", "yes"], choices=["no", "yes"], help="with torch.compile")
    parser.add_argument("--threads", type=int, default=4, help="threads of the whole path")
    parser.add_argument("--peak", type=int, default=8192, help="side of the matrices behind the peak")
    parser.add_argument("--area", type=int, default=4096, help="side of what is read and of the whole path, model px")
    parser.add_argument("--slide", type=Path, help="an H&E slide larger than that; without it one is painted")
    return parser.parse_args()


def made(folder: Path, architecture: Architecture) -> LoadedModel:
    """Write random weights and load them as the product does."""
    torch.manual_seed(1)
    card = ModelCard(name=architecture, mpp=MODEL_MPP, licence="CC0-1.0")
    with torch.inference_mode(mode=False):
        save_weights(build(architecture).eval().state_dict(), architecture, card, folder)
        return load_model(architecture, folder)


def painted(folder: Path, area_px: int) -> Path:
    """Paint an H&E slide at the networks' pixel size, a little larger than the area, and return where it lies."""
    phantom = make_phantom(random_options(7, "2+", (area_px + 330, area_px + 210)).model_copy(update=PIXELS))
    return write_slide(phantom, folder / "he.svs", stain="he")


PIXELS = {"mpp_x": MODEL_MPP, "mpp_y": MODEL_MPP}


def timed(work: Callable[[], object], options: argparse.Namespace) -> Timing:
    """Run `work` twice without and `rounds` times with the clock."""
    on_cuda = options.device != "cpu"
    walls, devices = [], []
    for round_ in range(options.rounds + 2):
        events: Any = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if on_cuda else []
        start = time.perf_counter()
        if on_cuda:
            events[0].record()
        work()
        if on_cuda:
            events[1].record()
            torch.cuda.synchronize(options.device)
        if round_ >= 2:
            walls.append(time.perf_counter() - start)
            devices.append(events[0].elapsed_time(events[1]) / 1e3 if on_cuda else float("nan"))
    return Timing(statistics.median(walls), statistics.median(devices))


def line(words: str, tiles: float, timing: Timing, share: float | None = None) -> None:
    """Print one row: tiles per second, share of the floor, busy share."""
    floor = f"{share:7.1%} of the floor" if share is not None else " " * 20
    print(f"{tiles / timing.wall:10.1f} tiles/s {floor}  busy {timing.device / timing.wall:6.1%}  {words}", flush=True)


def peak_macs(options: argparse.Namespace) -> float:
    """Return the multiply-adds per second of a large bf16 matrix product."""
    left, right = (torch.randn(options.peak, options.peak).to(options.device, torch.bfloat16) for _ in range(2))
    return float(options.peak**3 / timed(lambda: left @ right, options).wall)


def reading(slide: Path, options: argparse.Namespace) -> None:
    """Print the rate of reading windows with their halo, in one thread and in several."""
    boxes = [box.padded(HALO_PX) for box in cut(Size(options.area, options.area), min(1024, options.area))]
    tiles = (options.area / TILE_PX) ** 2
    view = RescaledSlide(open_slide(slide), MODEL_MPP)
    for threads in (1, options.threads):
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(view.read, boxes))
            print(f"{tiles / (time.perf_counter() - start):10.0f} tiles/s  reading, {threads} threads", flush=True)


def sending(options: argparse.Namespace) -> None:
    """Print the rate of sending tiles from ordinary memory through pinned memory to the device."""
    for batch in options.batches:
        pixels = np.zeros((batch, TILE_PX, TILE_PX, 3), np.uint8)
        timing = timed(lambda pixels=pixels: send(pixels, options.device), options)
        line(f"host to device, {batch} tiles, {pixels.nbytes / timing.wall / 1e9:.1f} GB/s", batch, timing)


def staining(models: dict[str, Any], options: argparse.Namespace, peak: float, *, compiled: bool) -> None:
    """Print the rates of the generators, pixels to pixels on the device; tiles and floor without the halo."""
    for architecture in [name for name in STAINERS if name in options.networks]:
        network = forward_stain(models[architecture], options, compiled=compiled)
        for side in options.windows:
            for batch in options.window_batches:
                shape = (batch, side + 2 * HALO_PX, side + 2 * HALO_PX, 3)
                pixels = torch.randint(0, 256, shape, dtype=torch.uint8).to(options.device)
                timing = timed(lambda network=network, pixels=pixels: network(pixels), options)
                tiles = batch * (side / TILE_PX) ** 2
                share = tiles / timing.wall * GIGA_MACS[architecture] * 1e9 / peak
                words = f"{architecture}, {batch} windows of {side} px with halo{', compiled' * compiled}"
                line(words, tiles, timing, share)


def forward_stain(loaded: LoadedModel, options: argparse.Namespace, *, compiled: bool) -> Callable[[Tensor], Tensor]:
    """Return the generator in the form in which the product runs it, with one set of statistics."""
    stainer = SeamlessStainer(cast("Generator", loaded.network), Runtime(options.device, "fp32"))
    field = NormField((0.0, 0.0), (1.0, 1.0), (), ())
    if stainer.needs_calibration:
        noise = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
        field = stainer.calibrate(lambda _box: noise, Size(512, 512), lambda _box: True, None, 1)
    runtime = Runtime(options.device, options.precision)
    layers = prepared_generator(cast("Generator", loaded.network).model, field, runtime)
    network: Any = torch.compile(layers) if compiled else layers
    return lambda pixels: image_pixels(network(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0))


def classifying(models: dict[str, Any], options: argparse.Namespace, peak: float, *, compiled: bool) -> None:
    """Print the rates of the classifiers, pixels to logits on the device."""
    for architecture in [name for name in CLASSIFIERS if name in options.networks]:
        network = forward_classify(models[architecture], options, compiled=compiled)
        for batch in options.batches:
            shape = (batch, TILE_PX, TILE_PX, 3)
            pixels = torch.randint(0, 256, shape, dtype=torch.uint8).to(options.device)
            timing = timed(lambda network=network, pixels=pixels: network(pixels), options)
            share = batch / timing.wall * GIGA_MACS[architecture] * 1e9 / peak
            line(f"{architecture}, {batch} tiles{', compiled' * compiled}", batch, timing, share)


def forward_classify(loaded: LoadedModel, options: argparse.Namespace, *, compiled: bool) -> Callable[[Tensor], Tensor]:
    """Return the classifier in the form in which the product runs it."""
    manifest: Manifest = loaded.manifest
    network = cast("TileClassifier", loaded.network).to(options.device)
    runtime = Runtime(options.device, options.precision)
    trunk: nn.Module | Any = prepared_trunk(network.backbone, runtime)
    trunk = torch.compile(trunk) if compiled else trunk
    return lambda pixels: network.logits(trunk(network_input(pixels, manifest).to(runtime.dtype)).float())


def whole_path(slide: Path, stain: LoadedModel, classify: LoadedModel, options: argparse.Namespace) -> None:
    """Print the rate from the file to the logits through the product's own classes, several threads on one device."""
    view = RescaledSlide(open_slide(slide), MODEL_MPP)
    runtime = Runtime(options.device, options.precision)
    stainer = SeamlessStainer(cast("Generator", stain.network), runtime)
    field = stainer.calibrate(view.read, view.size, lambda _box: True, None, 1) if stainer.needs_calibration else None
    side = min(max(options.windows), options.area)
    runner = TileRunner(classify, runtime, min((side // TILE_PX) ** 2 or 1, max(options.batches)))

    def work(box: Box) -> int:
        image = stainer.stain(view.read, box, field)
        whole = Size(box.width // TILE_PX * TILE_PX, box.height // TILE_PX * TILE_PX)
        tiles = [image[part.y : part.bottom, part.x : part.right] for part in cut(whole, TILE_PX)]
        return len(runner.answer(np.stack(tiles)).logits) if tiles else 0

    boxes = list(cut(Size(options.area, options.area), side))
    with ThreadPoolExecutor(options.threads) as pool:
        list(pool.map(work, boxes[: options.threads]))
        start = time.perf_counter()
        list(pool.map(work, boxes))
        wall = time.perf_counter() - start
        device = kernel_seconds(lambda: list(pool.map(work, boxes))) if options.device != "cpu" else float("nan")
    words = f"file to logits, {stain.manifest.architecture} and {classify.manifest.architecture}"
    line(f"{words}, {options.threads} threads", (options.area / TILE_PX) ** 2, Timing(wall, device))


def kernel_seconds(work: Callable[[], object]) -> float:
    """Return the seconds that the device spends in kernels and copies while `work` is done."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize()
    entries = [entry for entry in profile.key_averages() if entry.device_type == torch.autograd.DeviceType.CUDA]
    return sum(entry.self_device_time_total for entry in entries if not entry.is_user_annotation) / 1e6


if __name__ == "__main__":
    sys.exit(main())
