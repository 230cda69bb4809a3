"""`wsi-her2 explain`: why a tile got its class, as a picture."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsi_pipeline.cli.networks import Classifier, WeightsFolder
from wsi_pipeline.errors import UsageError, WeightsError, printable

if TYPE_CHECKING:
    from wsi_pipeline.explain.tile import Explanation
    from wsi_pipeline.geometry import Box
    from wsi_pipeline.models.manifest import Manifest
    from wsi_pipeline.models.registry import Weights
    from wsi_pipeline.slide import SlideInfo
    from wsi_pipeline.tiling import Grid

LIMIT_LOGITS = 20.0
"""Where the colours end. A quarter of a tile at this value makes a mean of 5, as a margin odds of 148 to 1.
The same for every tile, so that pictures can be compared."""


class UpperClass(StrEnum):
    """The upper class of a margin: it is explained against the class below."""

    one = "1+"
    two = "2+"
    three = "3+"


class CamMethod(StrEnum):
    """How the finer map is made."""

    hirescam = "hirescam"
    gradcam = "gradcam"


def explain(  # noqa: PLR0913, PLR0917 - the options of the command
    slide: Annotated[Path, typer.Argument(help="IHC slide or image file.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Picture to write (.png).")] = Path("explanation.png"),
    at: Annotated[
        str | None, typer.Option(help="X,Y in level-0 px as QuPath shows them: the tile that holds it.")
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Number of the tile, as in a run's table of tiles.")] = None,
    classifier: Classifier = None,
    weights: WeightsFolder = None,
    class_: Annotated[
        UpperClass | None, typer.Option("--class", help="Explain this class against the one below; else the answer.")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Layer of the finer map; else the one of stride 16.")] = None,
    method: Annotated[CamMethod, typer.Option(help="How the finer map is made.")] = CamMethod.hirescam,
    limit: Annotated[float, typer.Option(help="Logits at which the colours end.")] = LIMIT_LOGITS,
    mpp: Annotated[float | None, typer.Option(help="Pixel size of level 0 in um/px; wins over the file's own.")] = None,
    assume_mpp: Annotated[float | None, typer.Option(help="Pixel size in um/px where the file has none.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
) -> None:
    """Classify one tile and draw which parts of it speak for its class, and which against, on a fixed scale."""
    _check(at, tile, out)
    from wsi_pipeline.explain.extra import require_explain_extra  # noqa: PLC0415 - keeps --help quick

    require_explain_extra()
    from wsi_pipeline.explain.picture import explanation_picture, png_bytes  # noqa: PLC0415
    from wsi_pipeline.explain.pseudocolour import margin_scale  # noqa: PLC0415
    from wsi_pipeline.explain.tile import CamChoice, explain_tile, tile_grid  # noqa: PLC0415
    from wsi_pipeline.export.atomic import write_atomic  # noqa: PLC0415
    from wsi_pipeline.models.load import load_weights  # noqa: PLC0415
    from wsi_pipeline.slide import RescaledSlide, open_slide  # noqa: PLC0415

    margin_scale(limit)
    found = _classifier(classifier or "auto", weights)
    manifest = found.manifest
    with open_slide(slide, mpp=mpp, assume_mpp=assume_mpp) as opened:
        grid = tile_grid(opened.info, manifest)
        box = _place(grid, at, tile)
        rgb = RescaledSlide(opened, manifest.mpp).read(box)
    margin = None if class_ is None else list(UpperClass).index(class_)
    explanation = explain_tile(load_weights(found), rgb, CamChoice(margin, layer, method.value))
    facts = _facts(explanation, opened.info, manifest, grid, box) | {"limit_logits": limit, "picture": printable(out)}
    picture = explanation_picture(explanation, limit, _origin(facts), manifest.mpp)
    write_atomic(out, png_bytes(picture))
    sys.stdout.write(json.dumps(facts, indent=2, ensure_ascii=False) + "\n" if json_ else _text(facts))


def _check(at: str | None, tile: int | None, out: Path) -> None:
    """Raise UsageError unless one tile is named, and a PNG is asked for."""
    if (at is None) == (tile is None):
        said = "neither --at nor --tile is given" if at is None else "both --at and --tile are given"
        raise UsageError("explain", said, "say which tile: --at X,Y or --tile NUMBER")
    if out.suffix.lower() != ".png":
        raise UsageError("--out", f"{str(out)!r} does not end in .png")


def _classifier(name: str, folder: Path | None) -> Weights:
    """Return the tile classifier of this name, or the one there is. Raises WeightsError, UsageError."""
    from wsi_pipeline.models.choosing import choose_weights  # noqa: PLC0415
    from wsi_pipeline.models.registry import REMEDY  # noqa: PLC0415

    found = choose_weights("classifier", name, folder, prefer_full=True)
    if found is None:
        raise WeightsError("--classifier", "there are no weights of a tile classifier", REMEDY)
    return found


def _place(grid: Grid, at: str | None, tile: int | None) -> Box:
    """Return the tile asked for, model px; one of `at` and `tile` is given. Raises UsageError."""
    from wsi_pipeline.explain.tile import tile_at, tile_numbered  # noqa: PLC0415

    return tile_numbered(grid, tile) if tile is not None else tile_at(grid, at or "")


def _facts(found: Explanation, info: SlideInfo, manifest: Manifest, grid: Grid, box: Box) -> dict[str, Any]:
    """Return everything that is printed, in order; places in level-0 px."""
    from wsi_pipeline.explain.picture import NOTICE  # noqa: PLC0415
    from wsi_pipeline.explain.tile import MARGIN_NAMES  # noqa: PLC0415

    shares = [round(share, 6) for share in found.probabilities.tolist()]
    margins = [round(value, 6) for value in found.margins.tolist()]
    return {
        "notice": NOTICE,
        "slide": printable(info.path),
        "model": {"name": manifest.name, "architecture": manifest.architecture, "mpp": manifest.mpp},
        "tile": {"number": grid.tile_number(box), **grid.shown(box)._asdict()},
        "class": manifest.class_names[int(found.probabilities.argmax())],
        "probabilities": dict(zip(manifest.class_names, shares, strict=True)),
        "margins_logits": dict(zip(MARGIN_NAMES, margins, strict=True)),
        "entropy_bits": round(found.entropy_bits, 6),
        "explained": MARGIN_NAMES[found.margin],
        "maps": {
            "coarse": {"layer": "pooled features", "method": "integrated gradients"}
            | _range(found.coarse, found.coarse_stride)
            | {"glass_margin_logits": round(found.glass_margin, 6)},
            "fine": {"layer": found.layer, "method": found.method} | _range(found.fine, found.fine_stride),
        },
    }


def _range(values: Any, stride: int) -> dict[str, Any]:
    """Return the figures of a map (h, w): network input px per value, and logits."""
    figures = {"min": values.min(), "max": values.max(), "mean": values.mean()}
    return {"stride": stride} | {f"{name}_logits": round(float(value), 6) for name, value in figures.items()}


def _origin(facts: dict[str, Any]) -> tuple[str, str]:
    """Return the lines that say which slide, place and network a picture is of."""
    tile, model = facts["tile"], facts["model"]
    place = f"level-0 px {tile['x']}, {tile['y']}, {tile['width']} x {tile['height']}"
    return (
        f"{Path(facts['slide']).name}   tile {tile['number']}   {place}",
        f"Network {model['name']} ({model['architecture']}) at {model['mpp']:g} um/px",
    )


def _text(facts: dict[str, Any]) -> str:
    """Return the facts as people read them."""
    rows = {
        "tile": _origin(facts)[0],
        "network": f"{facts['model']['name']} ({facts['model']['architecture']})",
        "class": facts["class"],
        "probabilities": ", ".join(f"{name} {share:.1%}" for name, share in facts["probabilities"].items()),
        "margins": ", ".join(f"{name} {value:+.2f}" for name, value in facts["margins_logits"].items()) + " logits",
        "entropy": f"{facts['entropy_bits']:.2f} of 2 bits",
    }
    for name, figures in facts["maps"].items():
        low, high, mean = (figures[f"{key}_logits"] for key in ("min", "max", "mean"))
        kind = f"{figures['method']} at {figures['layer']}, stride {figures['stride']}"
        meaning = f"the margin; glass {figures['glass_margin_logits']:+.3g}" if name == "coarse" else "not the margin"
        rows[f"{name} map"] = (
            f"{facts['explained']}, {kind}: {low:+.3g} to {high:+.3g}, mean {mean:+.3g} logits ({meaning})"
        )
    rows["picture"] = f"{facts['picture']}, colours end at +-{facts['limit_logits']:g} logits"
    width = max(len(name) for name in rows)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows.items()) + f"{facts['notice']}\n"
