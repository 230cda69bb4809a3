"""The last check: what was trained with and measured on, read back from the study's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wsi_pipeline.errors import UsageError
from wsi_pipeline.training.data.records import Patch
from wsi_pipeline.training.data.splits import of_split, require_no_leak
from wsi_pipeline.training.study.guard import require_place
from wsi_pipeline.training.study.judge import Predictions


def audit(index: Sequence[Patch], measured: Predictions, files: Mapping[str, str], virtual: Mapping[str, str]) -> None:
    """Raise UsageError naming the image unless everything is where it belongs.

    `index`: all real patches and the accepted synthetic ones; `measured`: predictions on real test IHC; `files`: image
    -> sha256 of all real images; `virtual`: sha256 -> file of all virtual tiles.
    """
    require_no_leak(index)
    for role in ("val", "test"):
        for patch in of_split(index, role):
            require_place(patch, role)
            for file in (patch.path, patch.he):
                twin = virtual.get(files.get(str(file), ""))
                if twin is not None:
                    raise UsageError(str(file), f"in {role} is a copy of the synthetic image {twin}")
    test = {str(patch.path.resolve()) for patch in of_split(index, "test")}
    for place, _ in measured.places:
        if str(Path(place).resolve()) not in test:
            raise UsageError(place, "was measured as test and is not of the test split")
