"""The layers, held against the code: no upward import, no cycle, no heavy import outside its home, no giant file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "wsi_pipeline"

RANKS = {
    "errors": 0, "holding": 0, "geometry": 0, "installation": 0,
    "slide": 1, "stain": 1, "tiling": 1, "storage": 1,
    "tissue": 2, "results": 2, "models": 2,
    "engine": 3, "scoring": 3, "cells": 3, "explain": 3,
    "export": 4,
    "config": 5, "provenance": 5,
    "flows": 6, "training": 6,
    "service": 7,
    "cli": 8,
}  # fmt: skip
"""Part -> rank; a part imports only from lower ranks, and parts of one rank ignore each other."""

HOMES = {
    "torch": {"models", "training", "engine", "explain", "cli/doctor.py"},
    "torchvision": {"models", "training", "engine", "explain"},
    "safetensors": {"models", "training", "engine", "explain"},
    "dask": {"engine"},
    "distributed": {"engine"},
    "captum": {"explain"},
    "matplotlib": {"training"},
    "openvino": {"models"},
    "onnxruntime": {"models"},
    "fastapi": {"service"},
    "fsspec": {"storage"},
    "s3fs": {"storage"},
    "openslide": {"slide"},
    "tiffslide": {"slide"},
    "tifffile": {"slide", "training", "export"},
    "imagecodecs": {"slide", "training"},
}
"""Heavy or replaceable package -> the parts (or files) that may import it."""

LONGEST_FILE = 300
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of everything that is imported, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layers"
            yield node.module or ""


def part_of(module: Path) -> str:
    relative = module.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_to_the_architecture(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    tree = ast.parse(text)
    part = part_of(module)
    assert ast.get_docstring(tree), "a module says in one line what it is"
    assert text.count("\n") <= LONGEST_FILE, "the file asks to be divided"
    assert module.name not in {"utils.py", "common.py", "helpers.py"}
    if part == "__init__":
        return
    for name in imports(tree):
        top, _, rest = name.partition(".")
        if top == "wsi_pipeline" and rest:
            other = rest.split(".")[0]
            assert other == part or RANKS[other] < RANKS[part], f"{part} must not import {other}"
        home = HOMES.get(top)
        file = f"{part}/{module.name}"
        assert home is None or part in home or file in home, f"{top} is imported outside its home"


def test_no_module_imports_itself_by_a_detour() -> None:
    names = {str(path.relative_to(PACKAGE.parent).with_suffix("")).replace("/", "."): path for path in MODULES}
    graph = {
        name: set(imports(ast.parse(path.read_text(encoding="utf-8")))) & names.keys() for name, path in names.items()
    }
    while leaves := {name for name, found in graph.items() if not found}:
        graph = {name: found - leaves for name, found in graph.items() if name not in leaves}
    assert not graph, f"these import each other: {sorted(graph)}"


def test_every_part_has_a_rank() -> None:
    parts = {part_of(module) for module in MODULES} - {"__init__", "_shipped"}
    assert parts <= RANKS.keys()


def test_starting_stays_light() -> None:
    heavy = (
        "torch", "dask", "distributed", "zarr", "pyarrow", "skimage", "openslide", "shapely", "cv2", "scipy", "fsspec",
    )  # fmt: skip
    program = f"import sys, wsi_pipeline.cli.main; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
