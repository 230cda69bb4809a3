"""By what a batch knows that a slide is done: the same file, and the same request."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from wsi_pipeline.cells.options import AssayProfile
from wsi_pipeline.config import load_assay
from wsi_pipeline.errors import UsageError, WeightsError, WsiHer2Error
from wsi_pipeline.flows.batch_inputs import Place
from wsi_pipeline.flows.batch_store import Record
from wsi_pipeline.flows.networks import Networks, choose_networks
from wsi_pipeline.flows.remote_slide import remote_fingerprint
from wsi_pipeline.flows.request import ScoreRequest
from wsi_pipeline.flows.resume import request_key
from wsi_pipeline.slide import sha256_of
from wsi_pipeline.slide.digest import fingerprint_of

STAINS = ("ihc", "he", "unknown")
"""What a result may say that a slide is stained with; its networks depend on that."""


class BatchKeys:
    """The keys of a batch's slides; networks and assay profiles are looked up once."""

    def __init__(self, template: ScoreRequest) -> None:
        """Find the networks of each stain; those that cannot be had will be named by the slides that need them."""
        self._networks = {stain: _networks(template, stain) for stain in STAINS}
        self._assay = cache(load_assay)

    @property
    def gpus(self) -> tuple[int, ...]:
        """CUDA devices that any slide of the batch may use."""
        return tuple(sorted({number for networks in self._networks.values() for number in networks.gpus}))

    def of(self, request: ScoreRequest, stain: str) -> dict[str, Any] | None:
        """Return what is asked of a slide of this stain.

        Raises UsageError for an assay profile or, at a URL, a drawn region that is not there, StorageError.
        """
        if stain not in STAINS:
            return None
        key = request_key(request, self._networks[stain], self._profile(request))
        if request.roi_origin is not None:
            key["roi"] = remote_fingerprint(request.roi_origin)
        return key

    def by_stain(self, request: ScoreRequest) -> dict[str, Any]:
        """Return what is asked of a slide, by the stain that it may turn out to have."""
        return {stain: self.of(request, stain) for stain in STAINS}

    def _profile(self, request: ScoreRequest) -> AssayProfile:
        """Return the assay profile of a slide."""
        return self._assay(request.settings.assay)


def _networks(template: ScoreRequest, stain: str) -> Networks:
    """Return the networks for slides of a stain, none where they cannot be had."""
    try:
        return choose_networks(template.settings, template.weights_folder, stain)
    except (UsageError, WeightsError):
        return Networks()


def fingerprint(path: Place) -> str | None:
    """Return what changes with the slide, or None when it is gone."""
    try:
        return fingerprint_of(path) if isinstance(path, Path) else remote_fingerprint(path)
    except (OSError, WsiHer2Error):
        return None


def is_same_file(path: Place, record: Record) -> bool:
    """Tell whether a slide is the one that a record is about: untouched since, or on a local disk equal to the byte."""
    now = fingerprint(path)
    if now is None:
        return False
    if now == record.fingerprint or not isinstance(path, Path):
        return now == record.fingerprint
    return sha256_of(path) == record.row.sha256
