"""Alter the headers of slides in every way and see that each ends in pixels or in a plain sentence.

Usage: python tests/bench/fuzz_headers.py [--mutations 1500] [--seed N] [--seconds 60] [--memory-gb 1] [--keep DIR]

Takes a sample slide and the real ones of WSI_HER2_DATA (else ../shared/data): each of the mutations is one altered
copy, opened, looked over and read in places by a process of its own. A tenth as many come of an OME-TIFF, a Zarr
folder, a PNG and a DICOM file each. Ends with 1 if a process died, hung, showed a foreign traceback or took too much.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from mutations import TiffMutator, as_png, flip, mutate_json, mutate_png

from wsi_pipeline.errors import WsiHer2Error
from wsi_pipeline.export.ngff import MapSpec
from wsi_pipeline.export.zarr_map import MapStore
from wsi_pipeline.flows.glance import glance
from wsi_pipeline.geometry import Box, Mpp, Size
from wsi_pipeline.slide import Slide, open_slide

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "sample_slides" / "phantom_3plus.svs"
REAL = ("CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs")
REGION = 512
BAD = ("signal", "hang", "foreign traceback", "too much memory")

Make = Callable[[Path, random.Random], tuple[Path, str]]
"""From a new folder and dice to an altered slide in it and what was altered."""


@dataclass
class Trial:
    """One altered slide on its way through a process."""

    slide: Path
    words: str
    began: float


def real_data() -> Path:
    """Return the folder of real images, which need not exist."""
    return Path(os.environ.get("WSI_HER2_DATA", REPOSITORY.parent / "shared" / "data"))


def tiff_maker(path: Path) -> Make:
    """Return what writes altered copies of a TIFF."""
    mutator = TiffMutator(path)

    def make(folder: Path, dice: random.Random) -> tuple[Path, str]:
        data, words = mutator.mutate(dice)
        slide = folder / f"x{mutator.suffix}"
        slide.write_bytes(data)
        return slide, f"{path.name}: {words}"

    return make


def bytes_maker(name: str, data: bytes, mutate: Callable[[bytes, random.Random], tuple[bytes, str]]) -> Make:
    """Return what writes altered copies of a file of a few bytes."""

    def make(folder: Path, dice: random.Random) -> tuple[Path, str]:
        altered, words = mutate(data, dice)
        slide = folder / name
        slide.write_bytes(altered)
        return slide, f"{name}: {words}"

    return make


def zarr_maker(store: Path) -> Make:
    """Return what writes altered copies of an OME-Zarr folder: its JSON, or one of its chunks."""

    def make(folder: Path, dice: random.Random) -> tuple[Path, str]:
        slide = folder / "x.ome.zarr"
        shutil.copytree(store, slide)
        described = sorted(file for file in slide.rglob(".z*") if file.is_file())
        chunks = sorted(file for file in slide.rglob("*") if file.is_file() and not file.name.startswith("."))
        if dice.random() < 0.8:
            file = dice.choice(described)
            text, words = mutate_json(file.read_text(encoding="utf-8"), dice)
            file.write_text(text, encoding="utf-8")
        else:
            file = dice.choice(chunks)
            data, words = flip(file.read_bytes(), dice, 32)
            file.write_bytes(data)
        return slide, f"{file.relative_to(slide)}: {words}"

    return make


def makers(folder: Path) -> tuple[list[Make], list[Make]]:
    """Return the makers of altered scans, and those of other formats; sound originals are written to `folder`."""
    with open_slide(SAMPLE) as slide:
        pixels = slide.read_box(Box(500, 400, 813, 589), 1).rgb
    ome, store = folder / "sound.ome.tif", folder / "sound.ome.zarr"
    with tifffile.TiffWriter(ome, ome=True) as writer:
        options = {"photometric": "rgb", "tile": (128, 128), "compression": "jpeg"}
        metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "\u00b5m", "PhysicalSizeY": 0.25}
        writer.write(pixels, subifds=1, metadata=metadata, **options)
        writer.write(np.ascontiguousarray(pixels[::4, ::4]), subfiletype=1, **options)
    size = Size(pixels.shape[1], pixels.shape[0])
    spec = MapSpec(size_map=size, channels="rgb", mpp_map=Mpp(0.25, 0.25), name="scan", chunk=128, kind="scan")
    written = MapStore.create(store, spec)
    written.write_block(0, 0, pixels)
    written.build_pyramid("mean")
    scans = [SAMPLE, *(real_data() / "slides" / name for name in REAL)]
    others = [tiff_maker(ome), zarr_maker(store), bytes_maker("x.png", as_png(pixels), mutate_png)]
    dicom = real_data() / "slides" / "small_dicom.dcm"
    if dicom.exists():
        others.append(bytes_maker("x.dcm", dicom.read_bytes(), lambda data, dice: flip(data, dice, 6000)))
    return [tiff_maker(path) for path in scans if path.exists()], others


def look(path: Path, seed: int) -> str:
    """Open a slide, look it over, read it in places; return "ok" or what kind of error of ours it ended in."""
    dice = random.Random(seed)
    try:
        with open_slide(path, require_mpp=False) as slide:
            glance(slide)
            for downsample in (1, 2, 4, 16):
                read_somewhere(slide, dice, downsample)
    except WsiHer2Error as error:
        if "\n" in str(error):
            raise ValueError("an error of two lines") from error
        return type(error).__name__ + (" at the deadline" if "could not be opened within" in str(error) else "")
    return "ok"


def read_somewhere(slide: Slide, dice: random.Random, downsample: int) -> None:
    """Read a region anywhere in the slide."""
    width, height = slide.info.size_l0
    x, y = (dice.randrange(max(side // downsample, 1)) * downsample for side in (width, height))
    slide.read_box(Box(x, y, REGION * downsample, REGION * downsample), downsample)


def start(trial: Trial, seed: int, room: int) -> int:
    """Look at the slide in a copy of this process, which ends with what it found in a file beside; return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        found = look(trial.slide, seed)
    except BaseException:  # noqa: BLE001 - that is what is looked for
        found, code = "foreign traceback\n" + traceback.format_exc(), 1
    (trial.slide.parent / "found").write_text(found, encoding="utf-8", errors="replace")
    os._exit(code)


def outcome(trial: Trial, status: int, peak: float, most: float) -> str:
    """Return what a process found, or how it died."""
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    if peak > most:
        return f"too much memory: {peak / 1e9:.2f} GB"
    return (trial.slide.parent / "found").read_text(encoding="utf-8")


def run_all(trials: Iterator[Trial], seed: int, seconds: float, most: float) -> Iterator[tuple[Trial, str]]:
    """Yield each trial and its outcome; two processes at a time."""
    gc.collect()
    gc.freeze()
    pages = [int(word) * resource.getpagesize() for word in Path("/proc/self/statm").read_text().split()[:2]]
    room, base = pages[0] + int(6e9), pages[1]
    running: dict[int, Trial] = {}
    left = True
    while left or running:
        while left and len(running) < 2:
            trial = next(trials, None)
            left = trial is not None
            if trial is not None:
                trial.began = time.monotonic()
                running[start(trial, seed, room)] = trial
        if not running:
            return
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid:
            trial = running.pop(pid)
            yield trial, outcome(trial, status, usage.ru_maxrss * 1024 - base, most)
            continue
        time.sleep(0.002)
        for pid, trial in list(running.items()):
            if time.monotonic() - trial.began > seconds:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del running[pid]
                yield trial, f"hang: more than {seconds:g} s"


def main() -> None:
    """Alter, look, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--memory-gb", type=float, default=1.0)
    parser.add_argument("--keep", type=Path, help="folder for copies of the slides that ended badly")
    chosen = parser.parse_args()
    dice, began = random.Random(chosen.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans, others = makers(folder)
        order = [scans[index % len(scans)] for index in range(chosen.mutations)]
        order += [maker for maker in others for _ in range(chosen.mutations // 10)]

        def trials() -> Iterator[Trial]:
            for index, make in enumerate(order):
                inside = folder / str(index)
                inside.mkdir()
                yield Trial(*make(inside, dice), 0.0)

        counts: Counter[str] = Counter()
        for trial, found in run_all(trials(), chosen.seed, chosen.seconds, chosen.memory_gb * 1e9):
            counts[found.partition("\n")[0].partition(":")[0]] += 1
            if found.startswith(BAD):
                print(f"{trial.words}\n{found}", flush=True)
                if chosen.keep:
                    kept = chosen.keep / f"{chosen.seed}_{trial.slide.parent.name}_{trial.slide.name}"
                    chosen.keep.mkdir(parents=True, exist_ok=True)
                    (shutil.copytree if trial.slide.is_dir() else shutil.copy)(trial.slide, kept)
            shutil.rmtree(trial.slide.parent)
    report(counts, len(order), time.monotonic() - began, chosen.seed)


def report(counts: Counter[str], total: int, seconds: float, seed: int) -> None:
    """Print the counts and end the process."""
    print(f"{total} altered slides, seed {seed}, {seconds:.0f} s")
    for found, count in counts.most_common():
        print(f"{count:6d}  {found}")
    bad = {kind: sum(count for found, count in counts.items() if found.startswith(kind)) for kind in BAD}
    print(", ".join(f"{kind}: {count}" for kind, count in bad.items()))
    sys.exit(1 if any(bad.values()) else 0)


if __name__ == "__main__":
    main()
