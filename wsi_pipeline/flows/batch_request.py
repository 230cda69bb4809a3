"""What is asked of a batch and of each slide of it, and whether that is done already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsi_pipeline.flows.batch_keys import BatchKeys, is_same_file
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_rows import SlideRow
from wsi_pipeline.flows.batch_store import BatchStore
from wsi_pipeline.flows.request import ScoreRequest


@dataclass(frozen=True)
class BatchRequest:
    """What is to be done. `template`: what is asked of every slide; a manifest's values go before it."""

    slides: Sequence[BatchSlide]
    out: Path
    template: ScoreRequest
    fail_fast: bool = False
    again: bool = False
    """Score slides once more that are done; their new runs get new folders."""


def request_for(request: BatchRequest, slide: BatchSlide, out: Path) -> ScoreRequest:
    """Return what is asked of one slide; `out`: the results' folder, absolute."""
    template, source = request.template, slide.source
    settings = template.settings
    if source.assay is not None:
        settings = settings.model_copy(update={"assay": source.assay})
    return replace(
        template,
        slide=source.path,
        out=out / slide.folder,
        settings=settings,
        mpp=template.mpp if source.mpp is None else source.mpp,
        stain=source.stain or template.stain,
        roi=source.roi,
    )


def done_row(request: BatchRequest, slide: BatchSlide, store: BatchStore, keys: BatchKeys) -> SlideRow | None:
    """Return how a slide ended before, where that still holds and it need not be done again.

    Done is what was scored or found not evaluable, of the same file under the same request. What ended since this batch
    began is done whatever became of it: a batch that works beside this one has tried it.
    """
    record = store.read(slide)
    if record is None:
        return None
    row = record.row.model_copy(update={"slide": slide.name, "case": slide.source.case})
    just_now = store.ended_since(slide)
    if not row.is_good:
        return row if just_now else None
    if (request.again and not just_now) or not (store.out / row.result).exists():
        return None
    if record.key != keys.of(request_for(request, slide, store.out), row.stain):
        return None
    return row if just_now or is_same_file(slide.source.path, record) else None
