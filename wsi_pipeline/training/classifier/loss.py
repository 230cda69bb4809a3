"""The loss: cross entropy, and the ranked probability score that knows the order of the classes.

RPS = sum over cut-offs k of (P(class <= k) - [label <= k])^2 (Epstein 1969), the squared earth mover's distance between
the answer and the label (Hou et al. 2016). An answer two classes off costs more than one that is a single class off.
Cross entropy and RPS are both strictly proper scores, so the sum is still least for true probabilities: the network
is not taught to be calibrated worse, as it would be by distance-weighted or smoothed labels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def ranked_probability_score(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean RPS of `logits` (B, K) for `labels` (B,) int64; 0 is perfect, K - 1 the worst."""
    below = torch.cumsum(torch.softmax(logits.float(), dim=1), dim=1)[:, :-1]
    cuts = torch.arange(logits.shape[1] - 1, device=labels.device)
    reached = (labels[:, None] <= cuts[None]).float()
    return ((below - reached) ** 2).sum(dim=1).mean()


def ordinal_loss(logits: Tensor, labels: Tensor, ordinal_weight: float, label_smoothing: float = 0.0) -> Tensor:
    """Return cross entropy plus `ordinal_weight` times RPS, of `logits` (B, K) for `labels` (B,) int64.

    Rows whose label is unknown (-1) do not count; the loss of nothing but such rows is 0.
    """
    known = labels >= 0
    if not bool(known.any()):
        return logits.float().sum() * 0.0
    logits, labels = logits[known], labels[known]
    loss = functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    return loss + ordinal_weight * ranked_probability_score(logits, labels) if ordinal_weight else loss
