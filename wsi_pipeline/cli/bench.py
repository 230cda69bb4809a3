"""`wsi-her2 bench`: what this machine can do on a slide, and what limits it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsi_pipeline.cli.networks import Backend, Classifier, Device, Precision, Stainer, WeightsFolder
from wsi_pipeline.cli.slide_options import (
    AssayOption,
    AssumeMppOption,
    DebugOption,
    EvidenceOption,
    MppOption,
    PresetOption,
    Reader,
    ReaderOption,
    SchedulerOption,
    SetOption,
    Stain,
    StainOption,
    run_settings,
)
from wsi_pipeline.errors import OutputError, UsageError

if TYPE_CHECKING:
    from wsi_pipeline.flows.bench_compare import Library
    from wsi_pipeline.flows.bench_peers import Peer, PeerOptions
    from wsi_pipeline.flows.bench_sides import SideRecord
    from wsi_pipeline.flows.request import ScoreRequest


class Other(StrEnum):
    """Who may be compared with."""

    openslide = "openslide"
    tiffslide = "tiffslide"
    tiatoolbox = "tiatoolbox"
    wsinfer = "wsinfer"


READERS: dict[Other, Library] = {Other.openslide: "openslide", Other.tiffslide: "tiffslide"}
PEERS: dict[Other, Peer] = {Other.tiatoolbox: "tiatoolbox", Other.wsinfer: "wsinfer"}

CompareOption = Annotated[
    list[Other] | None, typer.Option(help="Measure this one too, in turns with wsi-her2; repeatable.")
]
PeerPythonOption = Annotated[
    list[str] | None,
    typer.Option(
        "--peer-python", help="Python that has a peer: PATH, or NAME=PATH such as wsinfer=env/bin/python; repeatable."
    ),
]


def bench(  # noqa: PLR0913, PLR0917 - the options of the command
    slide: Annotated[Path, typer.Argument(help="Slide or image file.")],
    mpp: MppOption = None,
    assume_mpp: AssumeMppOption = None,
    reader: ReaderOption = Reader.auto,
    stain: StainOption = Stain.auto,
    assay: AssayOption = None,
    evidence: EvidenceOption = None,
    stainer: Stainer = None,
    classifier: Classifier = None,
    weights: WeightsFolder = None,
    device: Device = None,
    precision: Precision = None,
    backend: Backend = None,
    scheduler: SchedulerOption = None,
    preset: PresetOption = None,
    set_: SetOption = None,
    regions: Annotated[int, typer.Option(min=2, max=1000, help="Regions that each round scores.")] = 8,
    seconds: Annotated[float, typer.Option(min=0, help="How long rounds go on; there are two at least.")] = 20.0,
    folder: Annotated[Path, typer.Option(help="Folder on the disk that results go to.")] = Path(),
    compare: CompareOption = None,
    peer_python: PeerPythonOption = None,
    peer_batch: Annotated[int, typer.Option(min=1, help="Tiles in a batch of a peer.")] = 4,
    peer_loaders: Annotated[int, typer.Option(min=1, help="Processes in which a peer reads.")] = 2,
    peer_compile: Annotated[bool, typer.Option("--peer-compile", help="Have the peer compile the network.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each comparison.")] = 3,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
    debug: DebugOption = False,  # noqa: ARG001
) -> None:
    """Measure reading, tissue, cells, networks and writing on SLIDE, and predict how long a run takes."""
    from wsi_pipeline.cli.progress import reporter  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.flows.bench import BenchOptions, bench_slide  # noqa: PLC0415
    from wsi_pipeline.flows.bench_peers import PeerOptions  # noqa: PLC0415
    from wsi_pipeline.flows.bench_text import bench_text  # noqa: PLC0415
    from wsi_pipeline.flows.request import ScoreRequest  # noqa: PLC0415

    settings = run_settings(
        preset, set_, assay, evidence, {},
        stainer=stainer, classifier=classifier, device=device, precision=precision, backend=backend,
    )  # fmt: skip
    pythons, sides = _pythons(peer_python), list(dict.fromkeys(compare or []))
    if not folder.is_dir():
        raise OutputError(folder, "is not a folder", "name one on the disk that results go to with --folder")
    given: dict[str, Any] = {"batch_tiles": peer_batch, "loaders": peer_loaders, "compile": peer_compile}
    default = pythons.get("", Path(sys.executable))
    peers = {side: PeerOptions(python=pythons.get(side.value, default), **given) for side in sides}
    with reporter() as report:
        request = ScoreRequest(
            slide, folder, settings, mpp, assume_mpp, reader.value, stain.value, scheduler=scheduler,
            weights_folder=weights, progress=report.show,
        )  # fmt: skip
        for side in sides:
            _require(request, side, peers[side])
        record = bench_slide(request, BenchOptions(regions=regions, seconds=seconds), folder)
        compared = tuple(_compared(request, side, peers[side], repeats) for side in sides)
    record = record.model_copy(update={"compared": compared})
    sys.stdout.write(record.model_dump_json(indent=2) + "\n" if json_ else bench_text(record))


def _require(request: ScoreRequest, side: Other, options: PeerOptions) -> None:
    """Raise what comparing would raise, before minutes are spent on measuring."""
    from wsi_pipeline.flows.bench_compare import require_reader  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.flows.bench_peers import require_peer  # noqa: PLC0415

    if side in READERS:
        require_reader(request, READERS[side])
    else:
        require_peer(PEERS[side], options.python)


def _compared(request: ScoreRequest, side: Other, options: PeerOptions, repeats: int) -> SideRecord:
    """Measure one other library or pipeline beside the product."""
    from wsi_pipeline.flows.bench_compare import compare_reading  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.flows.bench_peers import compare_peer  # noqa: PLC0415

    if side in READERS:
        return compare_reading(request, READERS[side], repeats)
    return compare_peer(request, PEERS[side], options, repeats)


def _pythons(given: list[str] | None) -> dict[str, Path]:
    """Return peer ("" for all) -> interpreter. Raises UsageError for an unknown peer."""
    found = {}
    for text in given or []:
        name, separator, path = text.partition("=")
        if not separator or "/" in name:
            name, path = "", text
        elif name not in PEERS:
            raise UsageError(f"--peer-python {text}", f"{name!r} is no peer", "name tiatoolbox=PATH or wsinfer=PATH")
        found[name] = Path(path)
    return found
