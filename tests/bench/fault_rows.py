"""The rows of the table of faults: what is asked of the command line, and what is right."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from fault_bench import SAMPLE, SERIAL, Bench
from PIL import Image

Verdict = tuple[bool, str]


class Row(NamedTuple):
    """One row: the input, what judges it, and what is right, in words."""

    name: str
    check: Callable[[Bench], Verdict]
    should: str


def refused(
    path: Path, bench: Bench, *, codes: tuple[int, ...] = (4,), seconds: float = 2, megabytes: float = 300
) -> Verdict:
    """Judge `info` of a file that is to be refused in time and in little memory."""
    done, _ = bench.info(path)
    is_small = bench.bytes < megabytes * 1e6 and bench.seconds < seconds
    return done.is_refused and done.code in codes and is_small, done.last


def project_error(path: Path, bench: Bench) -> Verdict:
    """Judge `info` of an altered slide: read, or refused in one sentence."""
    done, found = bench.info(path)
    return done.is_refused or bool(found), done.last if not found else f"read: {found['width']} x {found['height']}"


def pixel_size_unknown(path: Path, bench: Bench) -> Verdict:
    """Judge a file with sound pixels and odd resolution tags, of which a usable one may be used."""
    done, found = bench.info(path)
    stated, given = bench.info(path, "--mpp", "0.25")
    if not found or not given:
        return False, (stated if found else done).last
    run, record = bench.score(path)
    known = found["mpp_x"]
    is_right = record["slide"]["mpp_x"] == known if known else run.code == 6
    return is_right and (known is None or abs(known - 0.25) < 1e-3), f"mpp {known}; run without --mpp: {run.last}"


def pixel_size(path: Path, bench: Bench) -> Verdict:
    """Judge the pixel size that `info` finds."""
    done, found = bench.info(path)
    return bool(found) and abs((found["mpp_x"] or 0) - 0.25) < 1e-6, f"mpp {found['mpp_x']}" if found else done.last


def scan_found(path: Path, bench: Bench) -> Verdict:
    """Judge which image of a file is read: the largest, and the others are named, or an error that names both."""
    with tifffile.TiffFile(path) as tiff:
        sizes = sorted(
            {(page.imagewidth, page.imagelength) for page in tiff.pages}, key=lambda size: -size[0] * size[1]
        )
    done, found = bench.info(path)
    if not found:
        return done.is_refused and all(f"{size[0]} x {size[1]}" in done.stderr for size in sizes[:2]), done.last
    read = (found["width"], found["height"])
    levels = [(level["width"], level["height"]) for level in found["levels"]]
    others = [(other["width"], other["height"]) for other in found.get("other_images", [])]
    return read == sizes[0] and set(sizes) <= {*levels, *others}, f"read: {read}, beside it {others}"


def same_pixels(path: Path, bench: Bench, *, codes: tuple[int, ...] = ()) -> Verdict:
    """Judge the pixels of level 0 against what tifffile reads; `codes`: errors that are right too."""
    done = bench.run(path, program=(str(Path(__file__).with_name("fault_pixels.py")),))
    if done.code:
        said, _ = bench.info(path)
        return said.is_refused and said.code in codes, said.last
    found = json.loads(done.stdout)
    is_right = found["difference"] <= 1 and found["share_valid"] == 1.0
    return is_right, f"{found['reader']}: differs by {found['difference']}, {found['share_valid']:.0%} valid"


def many_pages(bench: Bench) -> Verdict:
    """Judge how the time to open grows from 800 to 3,200 images of a file."""
    pixels = np.random.default_rng(1).integers(0, 255, (389, 613, 3), np.uint8)
    seconds = []
    for pages in (800, 3200):
        path = bench.folder / f"many{pages}.tif"
        with tifffile.TiffWriter(path) as writer:
            writer.write(pixels, photometric="rgb", tile=(64, 64), metadata=None)
            for _ in range(pages - 1):
                writer.write(pixels[:16, :16], photometric="rgb", tile=(16, 16), compression="jpeg", metadata=None)
        bench.seconds = 0.0
        bench.info(path, "--mpp", "0.25")
        seconds.append(bench.seconds)
    return seconds[1] < 8 * max(seconds[0], 0.25), f"800: {seconds[0]:.1f} s, 3,200: {seconds[1]:.1f} s"


def same_score(path: Path, bench: Bench) -> Verdict:
    """Judge a run on a copy of the sample with padded levels: the same cells and area, or a refusal in words."""
    done, found = bench.score(path)
    if not found:
        return done.is_refused, done.last
    cells, area = found["cells"]["tumour"], found["tissue_mm2"]
    wanted, wanted_area = bench.sound["cells"]["tumour"], bench.sound["tissue_mm2"]
    is_same = abs(cells / wanted - 1) < 0.03 and abs(area / wanted_area - 1) < 0.03
    return is_same, f"{cells} cells in {area} mm2; the sample: {wanted} in {wanted_area}"


def dry_run(bench: Bench) -> Verdict:
    """Judge a dry run over the file that a library trips over, beside a sound one."""
    folder = bench.folder / "philips"
    folder.mkdir()
    shutil.copy(bench.faults / "philips.tiff", folder)
    shutil.copy(SAMPLE, folder)
    info, _ = bench.info(folder / "philips.tiff")
    done = bench.run("batch", folder, "--dry-run")
    goes_on = done.code == 0 and "philips.tiff: " in done.stdout and f"{SAMPLE.name}: " in done.stdout
    return goes_on and (info.is_refused or info.code == 0), f"{info.last}; the dry run: exit {done.code}"


def says(path: Path, bench: Bench, *, wrong: str) -> Verdict:
    """Judge that a file is refused as unsupported, and not with the words that are `wrong`."""
    done, _ = bench.info(path)
    return done.is_refused and done.code == 5 and wrong not in done.stderr, done.last


def regions(path: Path, bench: Bench, *, words: str, may_fail: bool = True) -> Verdict:
    """Judge a run within drawn regions: what it says has to hold `words`, a pattern."""
    done, found = bench.score(SAMPLE, "--roi", path)
    said = done.stderr + " ".join(found.get("warnings", []))
    told = " / ".join(line for line in done.stderr.splitlines() if re.search(words, line, re.IGNORECASE))
    is_ended = bool(found) or (may_fail and done.is_refused)
    return is_ended and re.search(words, said, re.IGNORECASE) is not None, told or done.last


def ignored_region(path: Path, bench: Bench) -> Verdict:
    """Judge that a region of a class with "Ignore*" among its names is left out."""
    done, found = bench.score(SAMPLE, "--roi", path)
    whole = bench.sound["tissue_mm2"]
    return bool(found) and found["tissue_mm2"] < 0.8 * whole, (
        f"{found['tissue_mm2']} of {whole} mm2 scored" if found else done.last
    )


def odd_name(bench: Bench) -> Verdict:
    """Judge a slide whose name is no UTF-8: scored and written, or refused before any work."""
    path = os.fsencode(bench.folder) + b"/caf\xe9.svs"
    try:
        shutil.copy(os.fsencode(SAMPLE), path)
    except OSError:
        return True, "this file system has no such names"
    done, found = bench.score(path)
    return bool(found) or (done.is_refused and bench.seconds < 3), done.last


def odd_sides(bench: Bench) -> Verdict:
    """Judge an image whose sides are no multiple of 32 px, all of which was scanned."""
    path = bench.folder / "odd.png"
    with tifffile.TiffFile(SAMPLE) as tiff:
        Image.fromarray(tiff.pages[0].asarray()[100:1411, 300:1807]).save(path)
    done, found = bench.score(path, "--mpp", "0.25")
    said = [warning for warning in found.get("warnings", []) if "never scanned" in warning]
    return bool(found) and not said, "; ".join(said) or done.last


def index_file(bench: Bench) -> Verdict:
    """Judge a batch with .vms files of odd values: a row each, and the batch goes on."""
    folder, out = bench.folder / "vms", bench.folder / "vms_out"
    folder.mkdir()
    for name, line in (("empty", "ImageFile="), ("date", "Date=2024/01/02"), ("dots", "Map=.."), ("root", "Map=/")):
        (folder / f"{name}.vms").write_text(f"[Virtual Microscope Specimen]\n{line}\n", encoding="utf-8")
    dry = bench.run("batch", folder, "--dry-run")
    done = bench.run("batch", folder, "-o", out, *SERIAL[:2])
    summary = out / "summary.csv"
    lines = summary.read_text(encoding="utf-8").splitlines()[1:] if summary.exists() else []
    is_right = (dry.code, done.code, len(lines)) == (0, 12, 4)
    return is_right, f"dry run exit {dry.code}, batch exit {done.code}, {len(lines)} rows"


CORRUPT = "corrupt, exit 4"


def rows(faults: Path) -> list[Row]:
    """Return all rows."""

    def of(name: str, check: Callable[..., Verdict], should: str, **more: Any) -> Row:
        return Row(name, partial(check, faults / name, **more), should)

    found = [
        of("lv_padded_full.tif", same_score, "the sample's cells and area, or a refusal"),
        of("cyclic.tif", refused, f"{CORRUPT}, within a second", seconds=1),
        of("many300.tif", project_error, "quick"),
        Row("800 and 3,200 images", many_pages, "linear"),
        *(of(name, refused, CORRUPT) for name in ("counts_short.tif", "v_jp2k.tif", "tile_w0.tif")),
        *(
            of(name, pixel_size_unknown, "readable with --mpp; pixel size missing without")
            for name in ("res_float_type.tif", "res_unit9_be.tif", "res_zero_den_be.tif")
        ),
        Row("philips.tiff", dry_run, "a project error; the dry run goes on"),
        *(of(name, refused, "refused below 300 MB") for name in ("bomb_jpeg_sof.tif", "bomb_zlib.ome.zarr")),
        *(of(name, same_pixels, "the same pixels") for name in ("gen_jpeg_pad512_be.tif", "jpeg_pad512.svs")),
        *(
            of(name, pixel_size, "0.25 um/px")
            for name in ("ome_entity.ome.tif", "ome_micron.ome.tif", "imagej.tif", "order_reversed.ome.zarr")
        ),
        *(
            of(name, scan_found, "the scan, or an error that names both")
            for name in ("ome_macro_first.ome.tif", "lv_small_first_be.tif")
        ),
        of("orient2.tif", same_pixels, "stored order, or unsupported", codes=(5,)),
        of("rgb_extra_unspecified_zero.tif", same_pixels, "the picture"),
        of("sampleformat_int8_be.tif", says, "a true sentence", wrong="8 bits per colour, not 8"),
        of(
            "cells_export.geojson",
            regions,
            "says what was left out",
            words="left out|detection|no annotation|no drawn area, only",
        ),
        of("ignore_second.geojson", ignored_region, "left out"),
        of("two_pts.geojson", regions, "says that it is no area", words="no area|encloses|degenerate|two points"),
        Row("name that is no UTF-8", odd_name, "written, or refused before work"),
        Row("sides of 1507 x 1311 px", odd_sides, "nothing never scanned"),
        Row(".vms files of odd values", index_file, "a row each"),
    ]
    fuzzed = sorted((faults / "fuzz").glob("*.svs"))
    return found + [
        Row(f"fuzz/{path.name}", partial(project_error, path), "a project error, or read") for path in fuzzed
    ]
