"""`wsi-her2 doctor`: versions, devices, readers, disk; what to send along with a question."""

from __future__ import annotations

import importlib.util
import os
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
    lines.append(f"memory: {_memory_gb():.1f} GB")
    lines.append(f"device: {_device()}")
    lines += _networks()
    problems = []
    for name in ("openslide", "tiffslide", "cv2", "zarr", "distributed"):
        problem = _import_problem(name)
        lines.append(f"reads and writes with {name}: {problem or 'yes'}")
        problems += [problem] if problem else []
    free = shutil.disk_usage(folder if folder.is_dir() else Path()).free
    lines.append(f"free disk in {folder.resolve()}: {free / 1e9:.1f} GB")
    sys.stdout.write("\n".join(lines) + "\n")
    raise typer.Exit(1 if problems else 0)


def _memory_gb() -> float:
    """Return the machine's memory in GB (10^9 bytes), 0 where the system does not tell."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names:
        return 0.0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


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
