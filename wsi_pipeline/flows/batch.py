"""Score many slides: each in a run folder of its own, on one executor, whatever becomes of any.

Slides overlap: while the workers have the regions of one, the one before is aggregated and the next one looked at.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from wsi_pipeline.config import load_assay
from wsi_pipeline.engine.trial import Trial
from wsi_pipeline.errors import StoppedError, WsiHer2Error
from wsi_pipeline.export.atomic import LAST_PUBLISHED
from wsi_pipeline.export.kept_folder import KeptFolder
from wsi_pipeline.flows.at_hand import at_hand
from wsi_pipeline.flows.batch_keys import BatchKeys, fingerprint
from wsi_pipeline.flows.batch_plan import BatchSlide
from wsi_pipeline.flows.batch_request import BatchRequest, done_row, request_for
from wsi_pipeline.flows.batch_rows import SlideRow, failed_row, scored_row, waiting_row
from wsi_pipeline.flows.batch_store import BatchStore, Record
from wsi_pipeline.flows.batch_summary import publish_summary, write_summary
from wsi_pipeline.flows.pool import SharedPool
from wsi_pipeline.flows.score import need_at_first, open_request, score_into
from wsi_pipeline.results import Result

SUMMARY_EVERY_S = 20.0
"""Seconds between two writings of the summary while slides are being scored."""

LANES = 2
"""Slides at work at once: one has the workers, the other is finished, and then the one after it surveyed."""

LOOK_AGAIN_S = 1.0
"""Seconds, give or take half, between two looks at slides that another batch works on."""


class Watcher(Protocol):
    """Is told how a batch goes on, by one thread at a time."""

    def begin(self, slide: str) -> None:
        """Hear that a slide's turn has come."""

    def progress(self, slide: str, stage: str, done: int, total: int) -> None:
        """Hear how far a stage of a slide has come."""

    def say(self, line: str) -> None:
        """Hear what a run decided."""

    def end(self, row: SlideRow, *, fresh: bool) -> None:
        """Hear how a slide ended; not `fresh`: it had been done before, or elsewhere."""


def run_batch(request: BatchRequest, watcher: Watcher) -> list[SlideRow]:
    """Score every slide that is not done, and return how each ended; the summary is in the results' folder.

    Batches that share the folder share the work. After Ctrl-C, and when no cluster or store can be had any more, the
    summary is written too, but not sent, and the next batch goes on there. Raises ClusterError, OutputError,
    ResourceError, StorageError, UsageError.
    """
    for assay in sorted({slide.source.assay for slide in request.slides if slide.source.assay}):
        load_assay(assay)
    with BatchStore(request.out, request.target, request.copies) as store:
        keys = BatchKeys(request.template)
        with (
            closing(SharedPool(request.template.settings, request.template.scheduler, keys.gpus)) as pool,
            closing(Trial()) as trial,
        ):
            batch = _Batch(request, watcher, store, keys, pool, trial)
            try:
                batch.run()
            finally:
                write_summary(store.out, batch.rows())
        store.deliver_summary()
    return batch.rows()


class _Batch:
    """One run of a batch."""

    def __init__(
        self,
        request: BatchRequest,
        watcher: Watcher,
        store: BatchStore,
        keys: BatchKeys,
        pool: SharedPool,
        trial: Trial,
    ) -> None:
        self._request = request
        self._watcher = watcher
        self._store = store
        self._keys = keys
        self._pool = pool
        self._trial = trial
        self._waiting = deque(request.slides)
        self._passed_over = 0
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._ended: dict[str, SlideRow] = {}
        self._written = time.monotonic()
        self._folders = {slide.folder for slide in request.slides}

    def rows(self) -> list[SlideRow]:
        """Return the row of every slide, in the order of the slides."""
        return [self._ended.get(slide.id) or waiting_row(slide) for slide in self._request.slides]

    def run(self) -> None:
        """Work through the slides, LANES at once; what goes wrong with the batch itself, and Ctrl-C, ends all."""
        with ThreadPoolExecutor(LANES, thread_name_prefix="slide") as threads:
            lanes = [threads.submit(self._work) for _ in range(min(LANES, len(self._waiting)))]
            try:
                for lane in as_completed(lanes):
                    lane.result()
            except BaseException:
                self._stop()
                raise

    def _stop(self) -> None:
        """Let all slides at work end where they are; what was done of them is kept."""
        self._stopping.set()
        self._pool.stop()

    def _work(self) -> None:
        """Take slide after slide; those that another batch holds are looked at again when all others are done."""
        while not self._stopping.is_set():
            with self._lock:
                if not self._waiting:
                    return
                slide = self._waiting.popleft()
            try:
                row = self._try(slide)
            except StoppedError:
                return
            with self._lock:
                self._note(slide, row)
                turn_over = self._passed_over >= len(self._waiting) > 0
            if turn_over:
                self._wait_for_others(slide)

    def _note(self, slide: BatchSlide, row: SlideRow | None) -> None:
        """Note how a slide ended; None: it has to be looked at again."""
        if row is None:
            self._waiting.append(slide)
            self._passed_over += 1
            return
        self._passed_over = 0
        self._ended[slide.id] = row
        if self._request.fail_fast and not row.is_good:
            self._stop()
        elif time.monotonic() - self._written > SUMMARY_EVERY_S:
            publish_summary(self._store, self.rows())
            self._written = time.monotonic()

    def _wait_for_others(self, slide: BatchSlide) -> None:
        """Let another batch work on."""
        holder = self._store.claims.holder(slide.id)
        if holder is not None:
            self._tell(slide, f"waiting for {holder.words}", 0, 1)
        self._passed_over = 0
        self._stopping.wait(LOOK_AGAIN_S * random.uniform(0.5, 1.5))

    def _tell(self, slide: BatchSlide, stage: str, done: int, total: int) -> None:
        """Show how far a slide has come. Raises StoppedError when the batch is to end."""
        if self._stopping.is_set():
            raise StoppedError("the batch", "was stopped", "the same command goes on")
        with self._lock:
            self._watcher.progress(slide.name, stage, done, total)

    def _say(self, line: str) -> None:
        """Show what a run decided."""
        with self._lock:
            self._watcher.say(line)

    def _try(self, slide: BatchSlide) -> SlideRow | None:
        """Return how the slide ended, scored now or before; None while somebody else works on it."""
        row = self._done(slide)
        if row is None and self._store.claims.take(slide.id):
            try:
                row = self._done(slide)  # somebody else may have ended it a moment ago
                if row is None:
                    return self._score(slide)
            finally:
                self._store.claims.release(slide.id)
        if row is not None:
            with self._lock:
                self._watcher.end(row, fresh=False)
        return row

    def _done(self, slide: BatchSlide) -> SlideRow | None:
        """Return how the slide ended before, where that still holds and it need not be done again."""
        return done_row(self._request, slide, self._store, self._keys)

    def _score(self, slide: BatchSlide) -> SlideRow | None:
        """Score a slide that is ours, and write down how it ended; None when it was lost to somebody else."""
        with self._lock:
            self._watcher.begin(slide.name)
        began = time.monotonic()
        try:
            record = self._scored(slide, began)
        except StoppedError:
            raise
        except WsiHer2Error as error:
            if self._pool.broken:
                raise
            record = Record(row=failed_row(slide, error, time.monotonic() - began))
        except Exception as error:  # noqa: BLE001 - one slide must not stop the others, whatever a library raises
            row = failed_row(slide, error, time.monotonic() - began)
            record = Record(row=row, traceback="".join(traceback.format_exception(error)))
        if not self._store.claims.holds(slide.id):
            return None
        if record.row.result:
            self._store.deliver((self._store.out / record.row.result).parent, partial(self._tell, slide))
        self._store.write(slide, record)
        KeptFolder.settle(self._store.work(slide))
        with self._lock:
            self._watcher.end(record.row, fresh=True)
        return record.row

    def _scored(self, slide: BatchSlide, began: float) -> Record:
        """Return the record of a slide's run: of one that was only not written down yet, else of a new one."""
        asked = request_for(self._request, slide, self._store.out)
        request = replace(asked, progress=partial(self._tell, slide), say=self._say)
        work = self._store.work(slide)
        found = KeptFolder.published(work)
        if found is not None and not self._request.again:
            final, note = found
            record = self._record(slide, final, note, began)
            if record.key == self._keys.of(request, record.row.stain):
                return record
        KeptFolder.settle(work)
        if self._request.again:
            shutil.rmtree(work, ignore_errors=True)
        note = self._keys.by_stain(request)
        is_ours = partial(self._store.claims.holds, slide.id)
        with at_hand(request, self._store.copies(slide), is_ours) as here, open_request(here, self._trial) as opened:
            folder = KeptFolder.open(
                work, request.out, note, is_free=lambda final: self._is_free(final, slide), is_ours=is_ours
            )
            with folder, self._pool.seat(need_at_first(opened, here)):
                score_into(folder, opened, here, self._pool)
        return self._record(slide, folder.final, note, began)

    def _record(self, slide: BatchSlide, final: Path, keys: Mapping[str, Any], began: float) -> Record:
        """Return the record of a run that lies in `final`; `keys`: stain -> what was asked for."""
        result = Result.model_validate_json((final / LAST_PUBLISHED).read_text(encoding="utf-8"))
        waited = result.provenance["seconds"].get("workers", 0.0)
        seconds = max(time.monotonic() - began - waited, 0.0)
        row = scored_row(slide, result, final.relative_to(self._store.out).as_posix(), seconds)
        return Record(row=row, key=keys[result.stain], fingerprint=fingerprint(slide.source.path))

    def _is_free(self, final: Path, slide: BatchSlide) -> bool:
        """Tell whether a run may end in a folder: it does not exist, and no other slide's run is to end there."""
        relative = final.relative_to(self._store.out).as_posix()
        return self._store.is_free(final) and (relative == slide.folder or relative not in self._folders)
