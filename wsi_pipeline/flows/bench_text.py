"""A benchmark in words and a table, for people."""

from __future__ import annotations

from collections.abc import Iterator

from wsi_pipeline.flows.bench_record import BenchRecord, StageRecord
from wsi_pipeline.flows.bench_sides import SideRecord

ONCE = {
    "start": "start of Python, imports", "hash": "hash of the slide", "survey": "survey: white, stain, tissue",
    "choose_networks": "choosing networks", "start_workers": "start of the workers",
    "first_regions": "first regions: imports of workers, networks loaded", "finish": "tables, maps, pictures",
    "stop_workers": "end of the workers",
}  # fmt: skip


def bench_text(record: BenchRecord) -> str:
    """Return the benchmark as lines."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: BenchRecord) -> Iterator[str]:
    """Yield the lines."""
    slide, engine = record.slide, record.engine
    yield f"{slide.path}: {slide.width} x {slide.height} px at {slide.mpp_x:g} um/px, {record.stain}, by {slide.reader}"
    yield f"{_work(record)}; evidence: {record.evidence}"
    yield (
        f"{engine.executor}, {_count(engine.workers, 'worker')}, {_count(engine.threads, 'thread')}; medians of "
        f"{record.rounds} rounds over {_count(record.sampled_regions, 'region')}"
    )
    yield from record.missing_networks
    yield ""
    yield f"{'stage':20}{'tile':>16}{'tiles/s a core':>16}{'ceiling':>9}{'of pass':>9}  ceiling is"
    for stage in record.stages:
        most = stage.ceiling_tiles_per_s_per_core
        yield (
            f"{stage.name:20}{_tile(stage):>16}{stage.tiles_per_s_per_core:16,.0f}{f'{most:,.0f}' if most else '-':>9}"
            f"{stage.share_of_pass_percent:7.0f} %  {stage.ceiling}"
        )
    yield ""
    yield "whole slide, s"
    for name, seconds in record.passes_seconds.items():
        yield f"  {f'regions: {name}':50}{seconds:8.1f}"
    for name, seconds in record.once_seconds.model_dump().items():
        yield f"  {ONCE[name]:50}{seconds:8.1f}"
    yield f"  {'predicted':50}{record.predicted_seconds:8.1f}  = {record.predicted_minutes:.2f} minutes"
    yield ""
    yield f"bottleneck: {record.bottleneck.sentence}"
    for side in record.compared:
        yield from _side(side)


def _work(record: BenchRecord) -> str:
    """Return what a run of the slide has before it."""
    work, found = record.work, []
    if work.regions:
        found.append(f"{_count(work.tissue_tiles, 'tissue tile')} in {_count(work.regions, 'region')}")
    if work.classified_tiles:
        regions = _count(work.classifier_regions, "region")
        found.append(f"{_count(work.classified_tiles, 'tile')} to classify in {regions}")
    return ", ".join(found)


def _count(number: int, thing: str) -> str:
    """Return how many of a thing there are."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _tile(stage: StageRecord) -> str:
    """Return how large a stage's tiles are."""
    width, height = (f"{side:.0f}" for side in stage.tile_um)
    return f"{stage.tile_px} px, {width if width == height else f'{width}x{height}'} um"


def _side(side: SideRecord) -> Iterator[str]:
    """Yield the lines of one comparison."""
    yield ""
    yield f"beside {side.name}: {', '.join(f'{name} {version}' for name, version in side.theirs_versions.items())}"
    yield f"  {side.what}"
    yield f"  {'':12}{'tiles':>8}{'tiles/s':>10}{'without start':>15}  seconds of each turn"
    for name, tiles, rate, bare, seconds in (
        ("wsi-her2", side.ours_tiles, side.ours_tiles_per_s, side.ours_tiles_per_s_without_start, side.ours_seconds),
        (side.name, side.theirs_tiles, side.theirs_tiles_per_s, side.theirs_tiles_per_s_without_start,
         side.theirs_seconds),
    ):  # fmt: skip
        turns = ", ".join(f"{each:.2f}" for each in seconds)
        yield f"  {name:12}{tiles:8,}{_short(rate):>10}{_short(bare):>15}  {turns}"
    yield f"  wsi-her2: {side.ratio:.2f} times the tiles per second"


def _short(rate: float | None) -> str:
    """Return tiles per second with as many digits as they are worth."""
    if rate is None:
        return "-"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
