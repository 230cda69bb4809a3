"""What other libraries are set to while the package works, and that a user's process has its own settings back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import cv2
import pytest

from wsi_pipeline.holding import Holding, one_opencv_thread, one_torch_thread

PROGRAM = """
import logging, sys, warnings
import asyncio, cv2, distributed, numpy, pyarrow.parquet, shapely, tifffile, zarr  # some add filters of their own
if len(sys.argv) > 4: import torch
names = ("", "tifffile", "distributed", "distributed.client", "distributed.nanny", "distributed.worker",
         "tornado.application", "asyncio", "PIL", "zarr")
logging.getLogger("distributed").setLevel(logging.INFO)
cv2.setNumThreads(3)
if len(sys.argv) > 4: torch.set_num_threads(3)
def state():
    loggers = [logging.getLogger(name) for name in names]
    def own(each):  # distributed keeps what its nodes say in memory, for as long as there is a node
        return [handler for handler in each.handlers if type(handler).__name__ != "DequeHandler"]
    found = {each.name: (each.level, own(each), list(each.filters), each.disabled, each.propagate)
             for each in loggers}
    threads = (cv2.getNumThreads(), torch.get_num_threads() if len(sys.argv) > 4 else 0)
    return found, threads, list(warnings.filters), numpy.geterr(), logging.root.manager.disable
before = state()
from pathlib import Path
from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import score_slide
slide, out, executor = sys.argv[1:4]
if __name__ == "__main__":
    networks = {"models.backend": "torch", "evidence": "both", "rule.min_tiles": 1} if len(sys.argv) > 4 else {
        "evidence": "cells"}
    settings = load_settings(None, {"engine.executor": executor, "engine.workers": 1} | networks)
    for number in range(2):
        result, _ = score_slide(ScoreRequest(Path(slide), Path(out) / str(number), settings))
        assert result.score == "3+", result.reason
        after = state()
        for was, now in zip(before, after):
            assert was == now, (was, now)
    print("as before")
"""


def test_a_context_is_entered_by_the_first_and_left_by_the_last() -> None:
    seen: list[str] = []

    @contextmanager
    def noted() -> Iterator[None]:
        seen.append("in")
        yield
        seen.append("out")

    held = Holding(noted)
    meet = Barrier(2)

    def use(_number: int) -> None:
        with held():
            meet.wait(10)
            assert seen == ["in"]
            meet.wait(10)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(use, range(2)))
    assert seen == ["in", "out"]
    with pytest.raises(ValueError, match="in the body"), held():
        raise ValueError("in the body")
    assert seen == ["in", "out", "in", "out"]


def test_thread_counts_come_back() -> None:
    torch = pytest.importorskip("torch", reason="the models extra is not installed")
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(3)
    torch.set_num_threads(2)
    try:
        for _ in range(2):
            with one_opencv_thread(), one_torch_thread():
                assert (cv2.getNumThreads(), torch.get_num_threads()) == (1, 1)
            assert (cv2.getNumThreads(), torch.get_num_threads()) == (3, 2)
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


@pytest.mark.slow
@pytest.mark.parametrize("words", [("serial",), ("dask",), ("serial", "networks")])
def test_scoring_leaves_loggers_warnings_and_thread_counts_as_they_were(
    samples: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    if "networks" in words:
        pytest.importorskip("torch", reason="the models extra is not installed")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(program), str(samples / "phantom_3plus.svs"), str(tmp_path / "out"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "as before\n"
