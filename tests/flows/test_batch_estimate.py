"""What a dry run says is ahead."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi_pipeline.config import load_settings
from wsi_pipeline.flows.batch_estimate import BYTES_PER_MM2, SECONDS_PER_MM2, SECONDS_PER_SLIDE, _rates
from wsi_pipeline.flows.batch_estimate import estimate_batch as estimate
from wsi_pipeline.flows.batch_plan import plan_batch
from wsi_pipeline.flows.batch_request import BatchRequest
from wsi_pipeline.flows.batch_rows import SlideRow
from wsi_pipeline.flows.request import ScoreRequest


def test_without_runs_it_rests_on_measured_rates_and_writes_nothing(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "text.svs").write_text("no slide")
    slides = plan_batch([str(samples / "phantom_null.svs"), str(tmp_path / "text.svs")], out)
    settings = load_settings(None, {"engine.workers": 5})
    rates, found = estimate(BatchRequest(slides, out, ScoreRequest(Path(), out, settings)))
    by_name = {one.name.rsplit("/", 1)[-1]: one for one in found}
    sound, broken = by_name["phantom_null.svs"], by_name["text.svs"]
    assert broken.problem.startswith("corrupt: is not an image")
    assert sound.slide_mm2 == pytest.approx(2710 * 1907 * 0.25**2 / 1e6)
    assert sound.minutes == pytest.approx((SECONDS_PER_SLIDE + sound.slide_mm2 * 0.25 * SECONDS_PER_MM2 / 5) / 60)
    assert sound.disk_bytes == pytest.approx(500_000 + sound.slide_mm2 * 0.25 * BYTES_PER_MM2, abs=1)
    assert "5 workers" in rates.why
    assert not out.exists()


def test_runs_that_are_done_say_better() -> None:
    done = [
        SlideRow(slide="a", status="scored", seconds=23.0, slide_mm2=100.0, tissue_mm2=40.0),
        SlideRow(slide="b", status="scored", seconds=43.0, slide_mm2=100.0, tissue_mm2=20.0),
        SlideRow(slide="c", status="not evaluable", seconds=1.0, slide_mm2=100.0, tissue_mm2=0.0),
    ]
    rates = _rates(done, load_settings(None, {}).engine)
    assert rates.seconds == pytest.approx((66.0 - 2 * SECONDS_PER_SLIDE) / 200)
    assert rates.disk_bytes == pytest.approx(0.3 * BYTES_PER_MM2)
    assert rates.why == "as in the 2 runs that are done"
