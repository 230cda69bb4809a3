"""`wsi-her2 doctor`: versions, devices, readers, disk; what to send along with a question."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def doctor(
    folder: Annotated[Path, typer.Argument(help="Folder whose disk is looked at.")] = Path(),
) -> None:
    """Show versions, devices, readers and free disk, and end with 1 when something needed is broken."""
    from wsi_pipeline.engine.interface import usable_processors  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.provenance import machine, versions  # noqa: PLC0415 - keeps --help quick

    lines = [f"{name}: {value}" for name, value in versions().items()]
    lines += [f"{name}: {value}" for name, value in machine().items()]
    lines.append(f"processors: {usable_processors()}")
    lines += _memory()
    lines.append(f"device: {_device()}")
    lines += _networks()
    problems = []
    for name in ("openslide", "tiffslide", "cv2", "numcodecs", "distributed"):
        problem = _import_problem(name)
        lines.append(f"reads and writes with {name}: {problem or 'yes'}")
        problems += [problem] if problem else []
    free = shutil.disk_usage(folder if folder.is_dir() else Path()).free
    lines.append(f"free disk in {folder.resolve()}: {free / 1e9:.1f} GB")
    sys.stdout.write("\n".join(lines) + "\n")
    raise typer.Exit(1 if problems else 0)


def _memory() -> list[str]:
    """Return the lines on memory (GB of 10^9 bytes): what there is, what a run may use, how many workers that holds."""
    from wsi_pipeline.config import load_settings  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.engine.memory import GB, allot, budget_bytes, machine_bytes, usable_bytes  # noqa: PLC0415
    from wsi_pipeline.flows.memory_estimate import example_need  # noqa: PLC0415

    settings = load_settings(None, {})
    need = example_need(settings)
    allotment = allot(settings.engine, 0, need.load(need.directing))
    return [
        f"memory: {machine_bytes() / GB:.1f} GB, of which this process may use {usable_bytes() / GB:.1f} GB",
        f"memory for a run: {budget_bytes(settings.engine) / GB:.1f} GB (engine.memory_gb)",
        f"workers that fit on a slide of 100,000 x 100,000 px, without networks: {allotment.workers} of "
        f"{allotment.wanted} wanted, about {(need.worker + need.region) / GB:.2f} GB each",
    ]


def _device() -> str:
    """Return the device that models would run on; cell measurement itself runs on processors."""
    if importlib.util.find_spec("torch") is None:
        return "cpu (torch is not installed; cell measurement does not need it)"
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(0)}"
    return "cpu"


def _networks() -> list[str]:
    """Return one line per architecture on what would run it and why, or why nothing would."""
    from wsi_pipeline.errors import WsiHer2Error  # noqa: PLC0415 - keeps --help quick
    from wsi_pipeline.models.manifest import ARCHITECTURES  # noqa: PLC0415
    from wsi_pipeline.models.options import ModelOptions  # noqa: PLC0415
    from wsi_pipeline.models.runtime import choose_runtime  # noqa: PLC0415

    lines = []
    for architecture in ARCHITECTURES:
        try:
            made = choose_runtime(architecture, ModelOptions())
        except WsiHer2Error as error:
            return [f"networks: {error}"]
        lines.append(f"network {architecture}: {made.device}, {made.precision}, {made.backend} ({made.why})")
    return lines


def _import_problem(name: str) -> str:
    """Return why `name` cannot be imported, or nothing."""
    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        return f"no ({error})"
    return ""
