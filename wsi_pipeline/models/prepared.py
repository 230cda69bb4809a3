"""Networks in the form in which they run: what can be folded is folded, convolutions in the wanted precision.

The answers are those of the plain networks up to rounding; layers that only cost memory traffic are gone.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wsi_pipeline.models.norm_field import NormField, PositionalNorm
from wsi_pipeline.models.pspstain import BlurDown, BlurUp, ResidualBlock
from wsi_pipeline.models.runtime import Runtime

Network = TypeVar("Network", bound=nn.Module)


class BilinearUp(nn.Module):
    """BlurUp in one step: [1, 3, 3, 1] with replicated borders is bilinear interpolation to twice the size."""

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, 2 H, 2 W) of `image` (B, C, H, W)."""
        return functional.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


class Cast(nn.Module):
    """Go on in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, features: Tensor) -> Tensor:
        """Return the same shape in this precision."""
        return features.to(self.dtype)


def prepared_trunk(trunk: Network, runtime: Runtime) -> Network:
    """Return a copy of a classifier's `trunk` (eval) for torch on the runtime's device.

    BatchNorm right behind a convolution is folded into it; the others stay in float32.
    """
    prepared = copy.deepcopy(trunk)
    for module in list(prepared.modules()):
        if isinstance(module, nn.Sequential):
            names = list(module._modules)
            for name, following in itertools.pairwise(names):
                _fuse(module, name, following)
        elif isinstance(getattr(module, "norm2", None), nn.BatchNorm2d):  # a dense layer of torchvision's DenseNet
            _fuse(module, "conv1", "norm2")
    return _in_precision(prepared, runtime)


def with_positional_norms(layers: nn.Sequential) -> list[PositionalNorm]:
    """Replace every InstanceNorm of a generator's `layers` by a PositionalNorm, and return these as they run."""
    scale, norms = 1, []
    for parent, index in _running_order(layers):
        layer = parent[index]
        if isinstance(layer, BlurDown):
            scale *= 2
        elif isinstance(layer, BlurUp):
            scale //= 2
        elif isinstance(layer, nn.InstanceNorm2d | PositionalNorm):
            norm = layer if isinstance(layer, PositionalNorm) else PositionalNorm(scale)
            parent[index] = norm
            norms.append(norm)
    return norms


def prepared_generator(layers: nn.Sequential, field: NormField | None, runtime: Runtime) -> nn.Sequential:
    """Return a copy of a generator's `layers` (with positional norms, or none) on the runtime's device.

    One set of statistics for the whole slide is folded into the convolutions; local ones stay layers of their own. The
    first convolution stays in float32: bright pixels lie far from 0, and rounding its weights shifts colours, for a
    hundredth of the work. So does the last tanh, since short forms have few levels near -1 and 1.
    """
    prepared = copy.deepcopy(layers)
    before: tuple[nn.Sequential, int] | None = None
    number = 0
    for parent, index in _running_order(prepared):
        layer = parent[index]
        if isinstance(layer, BlurUp) and torch.allclose(layer.filt.cpu(), BlurUp(layer.filt.shape[0]).filt):
            parent[index] = BilinearUp()
        elif isinstance(layer, PositionalNorm):
            if field is not None and field.is_uniform and before is not None:
                mean, deviation = (values[number].flatten() for values in (field.mean, field.deviation))
                _fold_statistics(cast("nn.Conv2d", before[0][before[1]]), mean, deviation)
                parent[index] = nn.Identity()
            number += 1
        before = (parent, index)
    first, second = [index for index, layer in enumerate(prepared) if isinstance(layer, nn.Conv2d)][:2]
    prepared = _in_precision(prepared, runtime, exact=prepared[first])
    prepared.insert(second, Cast(runtime.dtype))
    prepared.insert(len(prepared) - 1, Cast(torch.float32))
    return prepared


def _running_order(layers: nn.Sequential) -> Iterator[tuple[nn.Sequential, int]]:
    """Yield where each layer lies, (Sequential, index), in the order in which they run, residual blocks opened."""
    for index, layer in enumerate(layers):
        if isinstance(layer, ResidualBlock):
            yield from ((layer.conv_block, inner) for inner in range(len(layer.conv_block)))
        else:
            yield layers, index


def _fold_statistics(convolution: nn.Conv2d, mean: Tensor, deviation: Tensor) -> None:
    """Give a convolution the normalisation (C,) behind it, worked out in float64."""
    weight, bias = convolution.weight, cast("Tensor", convolution.bias)
    mean, deviation = (values.to(weight.device, torch.float64) for values in (mean, deviation))
    scaled = (weight.double() / deviation[:, None, None, None]).to(weight.dtype)
    shifted = ((bias.double() - mean) / deviation).to(bias.dtype)
    convolution.weight = nn.Parameter(scaled, requires_grad=False)
    convolution.bias = nn.Parameter(shifted, requires_grad=False)


def _fuse(module: nn.Module, convolution: str, norm: str) -> None:
    """Fold the BatchNorm called `norm` into the convolution before it, where the two are that."""
    first, second = module._modules[convolution], module._modules[norm]
    if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
        setattr(module, convolution, fuse_conv_bn_eval(first, second))
        setattr(module, norm, nn.Identity())


def _in_precision(network: Network, runtime: Runtime, exact: nn.Module | None = None) -> Network:
    """Put `network` on the device, its convolutions and fixed filters but `exact` in the wanted precision."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | BlurDown | BlurUp) and module is not exact:
            module.to(runtime.dtype)
    moved: Network = network.to(runtime.device).to(memory_format=torch.channels_last)
    return moved
