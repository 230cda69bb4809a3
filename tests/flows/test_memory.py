"""What a slide needs, and what becomes of it where there is less."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_pipeline.config import Settings, load_settings
from wsi_pipeline.engine.interface import Executor
from wsi_pipeline.engine.memory import GB, WorkerLimit
from wsi_pipeline.errors import ClusterError, ResourceError, StoppedError
from wsi_pipeline.export.atomic import RunFolder
from wsi_pipeline.flows.memory import Need, heed_limits, require_memory
from wsi_pipeline.flows.memory_estimate import example_need, first_need
from wsi_pipeline.flows.pool import OnePool, SharedPool
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.score import open_request, score_into
from wsi_pipeline.geometry import Mpp, Size
from wsi_pipeline.tiling import make_grid

MB = 10**6
sides = st.integers(300, 120_000)
spacings = st.floats(0.1, 1.0)


def settings_with(**engine: object) -> Settings:
    return load_settings(None, {f"engine.{name}": value for name, value in engine.items()})


def need_of(size: Size, mpp: Mpp, tiles: int) -> Need:
    settings = load_settings(None, {"tiling.region_tiles": tiles})
    return first_need(make_grid(size, mpp, settings.tiling), ScoreRequest(Path("a.svs"), Path("out"), settings))


def made_up(name: str, share: int, say: Callable[[str], None] = print) -> Need:
    """Return the need of a slide that adds `share` to a process of 100 MB; a worker with its region takes 300 MB."""
    here = 100 * MB + share
    return Need(
        Path(name), say, 100 * MB, 120 * MB + share // 2, here, here, share // 10, 200 * MB, 100 * MB, 0,
        ((4, 50 * MB), (2, 20 * MB)),
    )  # fmt: skip


@given(sides, sides, spacings, spacings, st.integers(1, 31))
def test_larger_regions_never_need_less(width: int, height: int, mpp_x: float, mpp_y: float, tiles: int) -> None:
    size, mpp = Size(width, height), Mpp(mpp_x, mpp_y)
    small, large = need_of(size, mpp, tiles), need_of(size, mpp, tiles + 1)
    assert large.region >= small.region > 0
    assert large.here == small.here, "the size of regions is the workers' business"
    assert [region for _, region in large.smaller] == sorted((r for _, r in large.smaller), reverse=True)


@given(sides, sides, spacings, st.integers(0, 50_000))
def test_larger_slides_never_need_less(width: int, height: int, mpp: float, more: int) -> None:
    small, large = (need_of(Size(width + add, height), Mpp(mpp, mpp), 4) for add in (0, more))
    assert large.region >= small.region
    if mpp > 0.15:  # an overview has at least one px per axis, so a narrow slide of tiny px may be looked at finer
        assert large.here >= small.here * 0.99


def test_a_region_of_many_cells_counts_cells_and_one_of_many_px_counts_px() -> None:
    fine, coarse = (need_of(Size(50_000, 40_000), Mpp(mpp, mpp), 8).region for mpp in (0.25, 0.5))
    assert fine > 27 * (2048 + 2 * 184) ** 2
    assert coarse > fine, "as many px hold four times as many cells"


def test_the_refusal_names_the_numbers_and_what_helps() -> None:
    settings = load_settings(None, {"engine.memory_gb": 0.36})
    with pytest.raises(ResourceError) as caught:
        require_memory(made_up("a.svs", 10 * MB), settings, None, 0)
    assert str(caught.value) == (
        "a.svs: scoring it needs at least about 0.41 GB of memory, and 0.36 GB may be used (allow more with --set "
        "engine.memory_gb=0.5 where there is that much, or take smaller regions than 8 tiles: --set "
        "tiling.region_tiles=4)"
    )
    require_memory(made_up("a.svs", 10 * MB), settings, "tcp://elsewhere:1", 0)
    require_memory(made_up("a.svs", 10 * MB), settings_with(memory_gb=0.41), None, 0)


def test_workers_of_a_scheduler_that_may_use_too_little_are_named() -> None:
    said: list[str] = []
    need = made_up("a.svs", 0, said.append)
    heed_limits([WorkerLimit(0, 4), WorkerLimit(300 * MB, 1)], need)
    heed_limits([], need)
    assert said == []
    heed_limits([WorkerLimit(300 * MB, 2), WorkerLimit(400 * MB, 2)], need)
    assert said == [
        "memory: a worker with 2 threads needs about 0.40 GB of memory for its regions, and 1 of the scheduler's 2 "
        "workers may use less"
    ]
    with pytest.raises(ResourceError, match=r"a\.svs: a worker with 2 threads .* may use 0\.30 GB \(start workers"):
        heed_limits([WorkerLimit(300 * MB, 2)], need)


def test_fewer_workers_are_started_where_fewer_fit() -> None:
    said: list[str] = []
    pool = OnePool(settings_with(memory_gb=0.75, workers=3), None)
    with pool.lend((), made_up("a.svs", 10 * MB, said.append)) as executor:
        found = executor.describe()
    assert (found["workers"], found["workers_wanted"], found["memory_budget_gb"]) == (2, 3, 0.75)
    assert found["memory_estimate_gb"] == 0.71
    assert said == [
        "memory: 2 of 3 workers were started; with these about 0.71 GB are needed of the 0.75 GB that may be used"
    ]


def test_a_batch_has_other_workers_for_a_slide_that_needs_more() -> None:
    said: list[str] = []
    pool = SharedPool(settings_with(memory_gb=1.1, workers=2), None, ())
    small, large = made_up("small.svs", 20 * MB, said.append), made_up("large.svs", 500 * MB, said.append)
    counts = []
    try:
        for need in (small, large, small):
            with pool.seat(need), pool.lend((), need) as executor:
                counts.append(executor.describe()["workers"])
        with (
            pytest.raises(ResourceError, match=r"huge\.svs: .* about 1\.20 GB"),
            pool.seat(made_up("huge.svs", 800 * MB)),
        ):
            pass
        assert not pool.broken
    finally:
        pool.close()
    assert counts == [2, 1, 2]
    assert [line[:18] for line in said] == ["memory: 1 of 2 wor"]


def test_slides_begin_together_only_where_both_fit() -> None:
    pool = SharedPool(settings_with(memory_gb=0.9, executor="serial"), None, ())
    seated = threading.Event()

    def begin(name: str, share: int) -> None:
        with pool.seat(made_up(name, share)):
            seated.set()

    with pool.seat(made_up("a.svs", 500 * MB)):
        fits = threading.Thread(target=begin, args=("b.svs", 300 * MB))
        fits.start()
        assert seated.wait(5)
        fits.join(5)
        seated.clear()
        waits = threading.Thread(target=begin, args=("c.svs", 600 * MB))
        pool.seats.note(made_up("a.svs", 600 * MB), 600 * MB, busy=True)
        waits.start()
        assert not seated.wait(0.8)
    assert seated.wait(5), "alone it may begin"
    waits.join(5)


def test_who_waits_for_a_seat_hears_that_the_batch_was_stopped() -> None:
    pool = SharedPool(settings_with(memory_gb=0.9, executor="serial"), None, ())
    ended: list[BaseException] = []

    def begin() -> None:
        try:
            with pool.seat(made_up("b.svs", 600 * MB)):
                pytest.fail("there was no room")
        except StoppedError as error:
            ended.append(error)

    with pool.seat(made_up("a.svs", 600 * MB)):
        pool.seats.note(made_up("a.svs", 600 * MB), 600 * MB, busy=True)
        waiting = threading.Thread(target=begin)
        waiting.start()
        time.sleep(0.1)
        pool.stop()
        waiting.join(5)
    assert len(ended) == 1


class SwellingPool(OnePool):
    """Lends workers whose second region takes ever more memory."""

    @contextmanager
    def lend(self, gpus: tuple[int, ...], need: Need) -> Iterator[Executor]:
        with super().lend(gpus, replace(need, worker=300 * MB, region=100 * MB)) as executor:
            run = executor.run

            def swelling(
                function: Callable[[Any], Any], tasks: Iterable[Any], *, device: bool = False
            ) -> Iterator[Any]:
                whole = list(tasks)
                bad = whole[1].region.index

                def swell(task: Any) -> Any:
                    held = []
                    while task.region.index == bad and len(held) < 80:
                        held.append(np.ones(20 * MB, np.uint8))
                        time.sleep(0.01)
                    return function(task)

                return run(swell, whole, device=device)

            executor.run = swelling  # type: ignore[method-assign]
            yield executor


@pytest.mark.slow
@pytest.mark.parametrize("most_percent", [60.0, 1.0])
def test_a_region_that_outgrows_its_worker_is_left_out_and_said_or_the_run_fails(
    samples: Path, tmp_path: Path, most_percent: float
) -> None:
    overrides = {
        "tiling.region_tiles": 2, "models.classifier": "none", "engine.workers": 2, "engine.memory_gb": 1.3,
        "engine.max_unreadable_percent": most_percent,
    }  # fmt: skip
    request = ScoreRequest(samples / "phantom_1plus.svs", tmp_path / "out", load_settings(None, overrides))

    def score() -> Any:
        with open_request(request) as slide, RunFolder.create(request.out) as folder:
            return score_into(folder, slide, request, SwellingPool(request.settings, None))

    if most_percent < 5:
        with pytest.raises(ClusterError, match="of its tissue killed the workers that took it, twice"):
            score()
        assert not request.out.exists()
        return
    result = score()
    spread = result.provenance["engine"]
    assert len(spread["regions_skipped"]) == 1
    assert 0 < spread["unreadable_percent"] < 60
    assert spread["memory_per_worker_gb"] < 0.6
    assert any("left out, because they killed the workers" in warning for warning in result.warnings)


def test_what_doctor_plans_with_is_a_large_slide() -> None:
    need = example_need(load_settings(None, {}))
    assert 0.7 * GB < need.here < GB
