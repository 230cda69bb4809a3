"""The four networks: how each is built, which tensors its files hold, and which form a checkpoint has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wsi_pipeline.models.folding import fold_batch_norm, fold_spectral_norm
from wsi_pipeline.models.ihcnet import IHCNet
from wsi_pipeline.models.light_ihcnet import LightIHCNet
from wsi_pipeline.models.manifest import ARCHITECTURES, HER2_CLASSES, IMAGENET, SYMMETRIC, Architecture, Normalisation
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator

LEAST_LIKENESS = 0.5
"""Share of keys in common below which a checkpoint belongs to none of the networks."""


class Preparation(NamedTuple):
    """What a network takes unless its manifest says otherwise."""

    tile_px: int
    input_px: int
    normalisation: Normalisation
    class_names: tuple[str, ...]


PREPARATION: dict[Architecture, Preparation] = {
    "ihcnet": Preparation(256, 224, IMAGENET, HER2_CLASSES),
    "ihcnet-light": Preparation(256, 224, IMAGENET, HER2_CLASSES),
    "pspstain": Preparation(256, 256, SYMMETRIC, ()),
    "pspstain-light": Preparation(256, 256, SYMMETRIC, ()),
}


class TensorSpec(NamedTuple):
    """Shape of an entry of a state dict, and whether it holds fractions (else counts)."""

    shape: tuple[int, ...]
    floating: bool


class Form(NamedTuple):
    """One way in which a network's checkpoint may be written, and how it becomes the plain one."""

    architecture: Architecture
    words: str
    specs: dict[str, TensorSpec]
    fold: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def build(architecture: Architecture, *, features_relu: bool = False) -> nn.Module:
    """Return the network as it is used (norms folded where they can be), with random weights, in training mode."""
    if architecture == "ihcnet":
        return IHCNet(features_relu=features_relu)
    if architecture == "ihcnet-light":
        return LightIHCNet()
    return Generator() if architecture == "pspstain" else Generator(LIGHT_WIDTH, "folded")


def network_from(state: Mapping[str, Tensor], architecture: Architecture, *, features_relu: bool = False) -> nn.Module:
    """Return the network holding exactly `state` (checked before), float32 on the CPU, in eval, without gradients."""
    with torch.device("meta"):
        network = build(architecture, features_relu=features_relu)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def plain_specs(architecture: Architecture) -> dict[str, TensorSpec]:
    """Return key -> shape and kind of every tensor in the architecture's safetensors file, in the network's order."""
    with torch.device("meta"):
        return _specs(build(architecture))


def forms() -> list[Form]:
    """Return all forms that can be imported."""
    known = [Form(name, name, plain_specs(name), dict) for name in ARCHITECTURES]
    spectral = _spectral_specs(plain_specs("pspstain"))
    known.append(Form("pspstain", "pspstain with spectral norm", spectral, fold_spectral_norm))
    with torch.device("meta"):
        normed = _specs(Generator(LIGHT_WIDTH, "batch"))
    known.append(Form("pspstain-light", "pspstain-light with BatchNorm", normed, fold_batch_norm))
    return known


def recognise(state: Mapping[str, Tensor]) -> Form | None:
    """Return the form whose keys, and then shapes, `state` shares most, or None when it is like none of them."""

    def likeness(form: Form) -> tuple[float, int]:
        common = state.keys() & form.specs.keys()
        same_shape = sum(tuple(state[key].shape) == form.specs[key].shape for key in common)
        return len(common) / len(state.keys() | form.specs.keys()), same_shape

    best = max(forms(), key=likeness)
    return best if likeness(best)[0] >= LEAST_LIKENESS else None


def first_problem(state: Mapping[str, Tensor], specs: Mapping[str, TensorSpec]) -> str:
    """Return what is wrong with the first offending key of `state` held against `specs`; nothing when all is well."""
    for key, spec in specs.items():
        problem = _tensor_problem(key, state[key], spec) if key in state else f"{key!r} is missing"
        if problem:
            return problem
    extra = next((key for key in state if key not in specs), None)
    return f"{extra!r} does not belong to it" if extra is not None else ""


def _tensor_problem(key: str, tensor: Tensor, spec: TensorSpec) -> str:
    """Return what is wrong with one tensor, or nothing."""
    if tuple(tensor.shape) != spec.shape:
        return f"{key!r} has shape {tuple(tensor.shape)} instead of {spec.shape}"
    if tensor.layout != torch.strided or tensor.is_floating_point() != spec.floating or tensor.is_complex():
        return f"{key!r} holds {tensor.dtype} instead of {'fractions' if spec.floating else 'counts'}"
    if spec.floating and not bool(torch.isfinite(tensor).all()):
        return f"{key!r} holds values that are not finite numbers"
    return ""


def _specs(network: nn.Module) -> dict[str, TensorSpec]:
    """Return the specification of a network's state dict."""
    return {
        key: TensorSpec(tuple(tensor.shape), tensor.is_floating_point()) for key, tensor in network.state_dict().items()
    }


def _spectral_specs(plain: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Return `plain` as torch's old-style spectral norm writes it: weight_orig with u (out,) and v (the rest,)."""
    specs: dict[str, TensorSpec] = {}
    for key, spec in plain.items():
        if key.endswith(".weight"):
            outputs, inputs, height, width = spec.shape
            specs[f"{key}_orig"] = spec
            specs[f"{key}_u"] = TensorSpec((outputs,), floating=True)
            specs[f"{key}_v"] = TensorSpec((inputs * height * width,), floating=True)
        else:
            specs[key] = spec
    return specs
