"""Calibrate on phantoms of laboratories that stain weaker or stronger, and score other phantoms of the same laboratory.

Usage: python tests/bench/calibrated_phantoms.py [--factor 0.4 --factor 1.0] [--seeds 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.calibrate import CalibrateRequest, Calibration, calibrate, write_profile
from wsi_pipeline.flows.calibrate_fit import Cutoffs
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
from wsi_pipeline.training.phantom import TARGETS, PhantomOptions, make_phantom, random_options, write_slide
from wsi_pipeline.training.phantom.presets import Target

SIZE = (1910, 1490)


def stained(options: PhantomOptions, factor: float) -> PhantomOptions:
    """Return a phantom whose every DAB density is `factor` times as dense."""
    looks = {
        name: look.model_copy(update={"od": (factor * look.od[0], factor * look.od[1])})
        for name, look in options.looks.items()
    }
    given = options.staining
    changed = {
        "blush_od": (factor * given.blush_od[0], factor * given.blush_od[1]),
        "background_dab": factor * given.background_dab,
    }
    return options.model_copy(update={"looks": looks, "staining": given.model_copy(update=changed)})


def paint(folder: Path, seed: int, target: Target, factor: float) -> Path:
    """Write one phantom; stain vectors, white point and tissue vary with the seed."""
    name = f"{target}_{seed}".replace("%", "").replace(" ", "_")
    return write_slide(make_phantom(stained(random_options(seed, target, SIZE), factor)), folder / f"{name}.svs")


def calibrated(folder: Path, factor: float) -> tuple[Calibration, Path]:
    """Return a calibration on ten phantoms and the profile that it wrote."""
    chosen: list[tuple[int, Target]] = [(101, target) for target in TARGETS]
    chosen += [(102, "1+"), (102, "2+"), (102, "3+")]
    lines = [f"{paint(folder, seed, target, factor).name},{TARGETS[target][1]}" for seed, target in chosen]
    labels = folder / "labels.csv"
    labels.write_text("\n".join(["path,score", *lines]) + "\n", encoding="utf-8")
    request = CalibrateRequest(labels, folder / "lab.yaml", load_settings("serial", {}))
    found = calibrate(request)
    return found, write_profile(found, request)[0]


def main() -> None:
    """Print one row for each factor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=float, action="append", help="0.4, 0.6 and 1 when none is given")
    parser.add_argument("--seeds", type=int, default=2, help="of each target, never calibrated on")
    chosen = parser.parse_args()
    print(
        "| DAB | cut-offs | labelled: start | left out | unseen: default | calibrated | what is wrong, calibrated | s |"
    )
    for factor in chosen.factor or (0.4, 0.6, 1.0):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found, profile = calibrated(folder, factor)
            seconds = time.perf_counter() - began
            right, wrong = {"default": 0, str(profile): 0}, []
            for seed in range(900, 900 + chosen.seeds):
                for target, (_, label, _) in TARGETS.items():
                    slide = paint(folder, seed, target, factor)
                    for number, assay in enumerate(right):
                        settings = load_settings("serial", {"assay": assay, "evidence": "cells"})
                        out = folder / f"{slide.stem}-{number}"
                        result, _ = score_slide(ScoreRequest(slide, out, settings))
                        right[assay] += result.score == label
                        if number and result.score != label:
                            wrong.append(f"{target} {seed}: {result.score}{' borderline' if result.borderline else ''}")
        total, labels = chosen.seeds * len(TARGETS), found.labels
        start, held = (int((np.asarray(scores) == labels).sum()) for scores in (found.start, found.held_out))
        wrongly = "; ".join(wrong) or "nothing"
        listed = ", ".join(f"{value:g}" for value in Cutoffs.of(found.profile))
        print(
            f"| {factor:g} | {listed} | {start} of {len(labels)} | {held} of {len(labels)} "
            f"| {right['default']} of {total} | {right[str(profile)]} of {total} | {wrongly} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
