"""A region that kills its workers: left out and said so, or too much of the slide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsi_pipeline.config import load_settings
from wsi_pipeline.engine.executors import SerialExecutor
from wsi_pipeline.engine.interface import Executor
from wsi_pipeline.errors import ClusterError
from wsi_pipeline.export.atomic import RunFolder
from wsi_pipeline.flows.memory import Need
from wsi_pipeline.flows.region import RegionTask
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import open_request, score_into


class Deadly(SerialExecutor):
    """An executor whose second region kills every worker."""

    given_up: tuple[Any, ...] = ()

    def run(self, function: Callable[[Any], Any], tasks: Iterable[Any], *, device: bool = False) -> Iterator[Any]:
        whole = list(tasks)
        self.given_up = tuple(task for task in whole[1:2] if isinstance(task, RegionTask))
        yield from super().run(function, [task for task in whole if task not in self.given_up], device=device)


class DeadlyPool:
    """Lends it."""

    resumes = False

    @contextmanager
    def lend(self, gpus: tuple[int, ...], need: Need) -> Iterator[Executor]:  # noqa: ARG002
        yield Deadly()


@pytest.fixture
def request_of(samples: Path, tmp_path: Path) -> ScoreRequest:
    settings = load_settings(None, {"tiling.region_tiles": 2, "engine.max_unreadable_percent": 60})
    return ScoreRequest(samples / "phantom_1plus.svs", tmp_path / "out", settings)


def test_the_others_are_scored_and_the_result_says_so(request_of: ScoreRequest) -> None:
    with open_request(request_of) as slide, RunFolder.create(request_of.out) as folder:
        result = score_into(folder, slide, request_of, DeadlyPool())
    spread = result.provenance["engine"]
    ((kind, index),) = spread["regions_skipped"]
    assert (kind, index >= 0) == ("RegionTask", True)
    assert spread["regions"] >= 5
    assert 0 < spread["unreadable_percent"] < 60
    assert result.cells.tumour > 50
    assert any(warning.endswith("workers that took them: 1") for warning in result.warnings)


def test_a_slide_that_loses_too_much_is_no_result(request_of: ScoreRequest) -> None:
    strict = request_of.settings.model_copy(
        update={"engine": request_of.settings.engine.model_copy(update={"max_unreadable_percent": 1.0})}
    )
    request = replace(request_of, settings=strict)
    with (
        pytest.raises(ClusterError, match=r"% of its tissue killed the workers that took it, twice"),
        open_request(request) as slide,
        RunFolder.create(request.out) as folder,
    ):
        score_into(folder, slide, request, DeadlyPool())
    assert not request.out.exists()
