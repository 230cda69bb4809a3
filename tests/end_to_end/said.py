"""What commands say on stderr."""

from __future__ import annotations


def own_words(stderr: str) -> str:
    """Return `stderr` without the line on the classifier, which a run says first where torch is installed."""
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith("classifier: "))
