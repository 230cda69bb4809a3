"""Whether a virtual stain may count as evidence of HER2: what its stainer is known to be, and what it looks like."""

from __future__ import annotations

from wsi_pipeline.models.manifest import Manifest

NEVER_REAL = "the stainer never saw real tissue, so its stain is no evidence of HER2"
UNKNOWN_ORIGIN = (
    "nobody said whether the stainer ever saw real tissue, so its stain is no evidence of HER2; if it did, import it "
    'again with --trained-on "real tissue"'
)
UNKNOWN_MARKER = "nobody said which marker the stainer stains; import it again with --marker"


def why_no_evidence(stainer: Manifest, doubt: str) -> str:
    """Return why nothing is scored on a stain of `stainer`, all reasons in one sentence, or nothing.

    `doubt`: what about its colours is not those of hematoxylin with DAB, or nothing.
    """
    found = [f"the virtual stain does not look like hematoxylin with DAB ({doubt})"] if doubt else []
    if stainer.trained_on == "phantoms":
        found.append(NEVER_REAL)
    elif stainer.trained_on == "unknown":
        found.append(UNKNOWN_ORIGIN)
    if stainer.stains_her2 is None:
        found.append(UNKNOWN_MARKER)
    return "; ".join(found)
