"""Learning rate as a function of the step alone, so that a checkpoint needs no more than the step."""

from __future__ import annotations

import math


def cosine_rate(step: int, total: int, warmup: int, final_share: float) -> float:
    """Return the share of the top learning rate at `step` of `total`, 0-1.

    It rises in a straight line over `warmup` steps, then falls along half a cosine to `final_share` (Loshchilov and
    Hutter 2017, "SGDR", without restarts).
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    return final_share + (1.0 - final_share) * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
