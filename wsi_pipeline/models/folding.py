"""Folding: what training wraps around a convolution becomes part of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

BATCH_NORM_EPS = 1e-5
"""torch's default, which the generators keep."""

SPECTRAL = (".weight_orig", ".weight_u", ".weight_v")


def fold_spectral_norm(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `state_dict` with weight = weight_orig / (u . W v) for every spectrally normalised layer, without u and v.

    The same operations in the same order as torch.nn.utils.spectral_norm in eval, so equal to the bit on one device.
    """
    folded: dict[str, Tensor] = {}
    for key, tensor in state_dict.items():
        if key.endswith(".weight_orig"):
            stem = key.removesuffix("_orig")
            left, right = state_dict[f"{stem}_u"], state_dict[f"{stem}_v"]
            matrix = tensor.reshape(tensor.shape[0], -1)  # (out, in * kernel * kernel)
            folded[stem] = tensor / torch.dot(left, torch.mv(matrix, right))
        elif not key.endswith(SPECTRAL):
            folded[key] = tensor
    return folded


def fold_batch_norm(state_dict: Mapping[str, Tensor], eps: float = BATCH_NORM_EPS) -> dict[str, Tensor]:
    """Return `state_dict` with every BatchNorm of a Sequential folded into the convolution just before it.

    The convolution's weight (out, in, k, k) and bias (out,) take scale and offset; the BatchNorm's entries are gone.
    """
    folded = dict(state_dict)
    for key in state_dict:
        if not key.endswith(".running_var"):
            continue
        norm = key.removesuffix(".running_var")
        convolution = re.sub(r"\d+$", lambda number: str(int(number.group()) - 1), norm)
        scale = folded[f"{norm}.weight"].double() / torch.sqrt(folded[key].double() + eps)
        weight, bias = folded[f"{convolution}.weight"], folded[f"{convolution}.bias"]
        offset = (bias.double() - folded[f"{norm}.running_mean"].double()) * scale + folded[f"{norm}.bias"].double()
        folded[f"{convolution}.weight"] = (weight.double() * scale[:, None, None, None]).to(weight.dtype)
        folded[f"{convolution}.bias"] = offset.to(bias.dtype)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            folded.pop(f"{norm}.{part}", None)
    return folded
