"""`wsi-her2 info`: what a slide is, without scoring it."""

from __future__ import annotations

import json
import math
import sys
from typing import Annotated, Any

import typer


def info(
    slide: Annotated[str, typer.Argument(help="Slide or image file, or a URL, which is fetched whole.")],
    mpp: Annotated[float | None, typer.Option(help="Pixel size of level 0 in um/px; wins over the file's own.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Show size, levels, pixel size and its source, vendor and a guess at the stain."""
    facts = _facts(slide, mpp)
    if json_:
        sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        sys.stdout.write(f"{name:<{width}}  {_text(value)}\n")


def _facts(word: str, mpp: float | None) -> dict[str, Any]:
    """Return what there is to know, in the order it is shown."""
    from wsi_pipeline.flows.anywhere import slide_at_hand  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.flows.glance import glance  # noqa: PLC0415
    from wsi_pipeline.slide import open_slide  # noqa: PLC0415

    with slide_at_hand(word) as (path, shown), open_slide(path, mpp=mpp, require_mpp=False) as slide:
        known = slide.info
        guess, white = glance(slide)
        missing = math.isnan(known.mpp.x)
        return {
            "file": shown,
            "reader": known.reader,
            "vendor": known.vendor,
            "width": known.size_l0.width,
            "height": known.size_l0.height,
            "mpp_x": None if missing else known.mpp.x,
            "mpp_y": None if missing else known.mpp.y,
            "mpp_source": known.mpp_source,
            "objective": known.objective_power,
            "levels": [
                {"width": size.width, "height": size.height, "downsample": round(downsample, 5)}
                for size, downsample in zip(known.level_sizes, known.level_downsamples, strict=True)
            ],
            "other_images": [
                {"name": other.name, "width": other.size.width, "height": other.size.height}
                for other in known.other_images
            ],
            "bounds_origin": list(known.bounds_origin_l0),
            "stain_guess": guess.stain,
            "stain_confidence": round(guess.confidence, 3),
            "white": [round(value, 1) for value in white.rgb],
            "warnings": list(known.warnings),
        }


def _text(value: Any) -> str:
    """Return a value as people read it."""
    if value is None:
        return "unknown"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(_image_text(image) for image in value)
    if isinstance(value, list):
        return ", ".join(str(part) for part in value) or "none"
    return str(value)


def _image_text(image: dict[str, Any]) -> str:
    """Return a level, or another image of the file, as people read it."""
    size = f"{image['width']} x {image['height']}"
    return f"{size} (/{image['downsample']:g})" if "downsample" in image else f"{image['name']} {size}"
