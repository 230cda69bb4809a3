"""What is asked of a batch and of each slide of it, and whether that is done already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsi_pipeline.errors import WsiHer2Error
from wsi_pipeline.flows.batch_keys import BatchKeys, is_same_file
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_rows import SlideRow
from wsi_pipeline.flows.batch_store import BatchStore
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.storage import Address, RemotePath


@dataclass(frozen=True)
class BatchRequest:
    """What is to be done. `template`: what is asked of every slide; a manifest's values go before it.

    `out` is the results' folder; where they are sent to a URL, `target`, it is the one that the work is done in.
    `copies`: where slides of URLs lie while they are worked on, if not there too.
    """

    slides: Sequence[BatchSlide]
    out: Path
    template: ScoreRequest
    fail_fast: bool = False
    again: bool = False
    """Score slides once more that are done; their new runs get new folders."""
    target: Address | None = None
    copies: Path | None = None

    @property
    def shown(self) -> str:
        """Where the results will be, for people."""
        return str(self.out) if self.target is None else self.target.shown

    @property
    def summary_shown(self) -> str:
        """Where the summary will be, for people."""
        return str(self.out / "summary.csv") if self.target is None else self.target.child("summary.csv").shown


def request_for(request: BatchRequest, slide: BatchSlide, out: Path) -> ScoreRequest:
    """Return what is asked of one slide; `out`: the results' folder, absolute."""
    template, source = request.template, slide.source
    slide_at, roi_at = source.path, source.roi
    settings = template.settings
    if source.assay is not None:
        settings = settings.model_copy(update={"assay": source.assay})
    if source.tumour is not None:
        rule = {"tumour": source.tumour, "specimen": source.specimen or "resection"}
        settings = settings.model_copy(update={"rule": settings.rule.model_copy(update=rule)})
    return replace(
        template,
        slide=slide_at if isinstance(slide_at, Path) else Path(),
        origin=slide_at if isinstance(slide_at, RemotePath) else None,
        out=out / slide.folder,
        settings=settings,
        mpp=template.mpp if source.mpp is None else source.mpp,
        stain=source.stain or template.stain,
        roi=roi_at if isinstance(roi_at, Path) else None,
        roi_origin=roi_at if isinstance(roi_at, RemotePath) else None,
        destination=None if request.target is None else request.target.child(slide.folder),
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
    if (request.again and not just_now) or not store.has(row.result):
        return None
    try:
        if record.key != keys.of(request_for(request, slide, store.out), row.stain):
            return None
        return row if just_now or is_same_file(slide.source.path, record) else None
    except WsiHer2Error:  # of what lies at a URL; its turn will say so
        if isinstance(slide.source.path, RemotePath) or isinstance(slide.source.roi, RemotePath):
            return None
        raise
