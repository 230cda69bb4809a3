"""What stages could reach at most on this machine, measured beside them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

from wsi_pipeline.errors import CorruptSlideError
from wsi_pipeline.flows.bench_rounds import Round
from wsi_pipeline.flows.bench_stages import STAIN_TILE_PX, Ceiling, tiles_in
from wsi_pipeline.flows.bench_work import Sample
from wsi_pipeline.flows.maps import VIRTUAL_IMAGE
from wsi_pipeline.flows.networks import Chosen
from wsi_pipeline.flows.plan import RunPlan
from wsi_pipeline.flows.pyramids import CLASS_MAP, COLOUR_MAP, DENSITY_MAP
from wsi_pipeline.flows.survey import Survey
from wsi_pipeline.geometry import Box
from wsi_pipeline.slide import Slide, decode_only
from wsi_pipeline.slide.levels import FINER_TOLERANCE

REPEATS = 3
"""Measurements behind a ceiling; the quickest counts, since nothing goes quicker than it can."""

MOST_FILES = 2000
"""Chunks that are written again as plain files."""

WRITTEN = {
    "write stain": ("process_stain_region", (VIRTUAL_IMAGE,)),
    "write": ("process_region", (CLASS_MAP, DENSITY_MAP, COLOUR_MAP)),
}
"""Stage -> function whose regions write, and the maps that they write into."""


@dataclass(frozen=True)
class Measured:
    """What ceilings are found from.

    `tiles_in_all`: with tissue, of the whole slide; `gpu_threads`: that share the GPUs.
    """

    slide: Slide
    plan: RunPlan
    survey: Survey
    tiles_in_all: int
    sample: Sample
    rounds: Sequence[Round]
    gpu_threads: int

    def tiles(self, function: str) -> float:
        """Return how many tiles a pass had in a round."""
        return median(tiles_in(round_.done.get(function, ())) for round_ in self.rounds)


def find_ceilings(measured: Measured, folder: Path) -> dict[str, Ceiling]:
    """Return stage -> ceiling, where an honest one is known; `folder` is on the disk that results go to."""
    plan = measured.plan
    found = {"cells": Ceiling(None, "none known: the measurement is the product's own")}
    whole = [Box(0, 0, *measured.survey.size_l0)]
    found["survey"] = _decoding(measured, whole, measured.survey.downsample, measured.tiles_in_all)
    if not plan.virtual and plan.measures_cells:
        tiles = measured.tiles("process_region")
        found["read"] = _decoding(measured, measured.sample.boxes_l0, round(plan.grid.ratio[0]), tiles)
    if not plan.virtual and plan.tile_grid is not None:
        step = max(math.floor(min(plan.tile_grid.ratio) * FINER_TOLERANCE), 1)  # as RescaledSlide reads
        tiles = measured.tiles("process_tile_region")
        boxes_l0 = measured.sample.tile_boxes_l0 or measured.sample.boxes_l0
        found["read for classifier"] = _decoding(measured, boxes_l0, step, tiles)
    for stage, (function, maps) in WRITTEN.items():
        chunks = [size for name in maps for size in measured.rounds[-1].chunks.get(name, ())]
        if chunks and measured.tiles(function):
            rate = measured.tiles(function) / _writing(chunks, folder)
            found[stage] = Ceiling(rate, "the chunks' bytes, written as plain files")
    for kind, chosen in plan.networks.chosen().items():
        found[kind] = _arithmetic(chosen, measured.gpu_threads)
    return found


def _decoding(measured: Measured, boxes_l0: Sequence[Box], step: int, tiles: float) -> Ceiling:
    """Return the rate at which the codec alone decodes what lies under the boxes, on one thread."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        try:
            counts = [decode_only(measured.slide, box, step) for box in boxes_l0]
        except CorruptSlideError:
            return Ceiling(None, "none known: a native tile cannot be decoded")
        if None in counts:
            return Ceiling(None, f"none known: {measured.slide.info.reader} decodes inside its own library")
        seconds.append(time.perf_counter() - start)
    return Ceiling(tiles / min(seconds), "the native tiles below, only decoded")


def _writing(sizes: Sequence[int], folder: Path) -> float:
    """Return how long it takes to write plain files of these sizes, s."""
    content = memoryview(os.urandom(max(sizes)))  # zeros would tell file systems that compress too little
    seconds = []
    for repeat in range(REPEATS):
        start = time.perf_counter()
        for number, size in enumerate(islice(sizes, MOST_FILES)):
            (folder / f"ceiling-{repeat}-{number}").write_bytes(content[:size])
        seconds.append(time.perf_counter() - start)
    return min(seconds) * len(sizes) / min(len(sizes), MOST_FILES)


def _arithmetic(chosen: Chosen, gpu_threads: int) -> Ceiling:
    """Return the rate at which a network's sums would be done if all were one matrix product."""
    from wsi_pipeline.models.arithmetic import flop_per_tile, matmul_flop_per_s  # noqa: PLC0415 - torch is heavy
    from wsi_pipeline.models.load import load_model  # noqa: PLC0415

    network, manifest = chosen.network, chosen.manifest
    side = manifest.input_px if manifest.is_classifier else STAIN_TILE_PX
    flop = flop_per_tile(load_model(network.name, network.folder).network, side)
    rate = matmul_flop_per_s(network.runtime)
    words = f"{flop / 1e9:.2f} GFLOP a tile at {rate / 1e9:,.0f} GFLOP/s of matrix products"
    if not chosen.gpus or not gpu_threads:
        return Ceiling(rate / flop, words)
    share = len(chosen.gpus) / gpu_threads
    return Ceiling(rate / flop * share, f"{words}, of which a thread has {share:.0%}")
