"""The generators as they are trained: with the norms that training needs, from and back to their plain form."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.architectures import first_problem, plain_specs
from wsi_pipeline.models.folding import fold_batch_norm, fold_spectral_norm
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator
from wsi_pipeline.training.stainer.options import StainerArchitecture


def training_generator(architecture: StainerArchitecture) -> Generator:
    """Return the generator with random weights: spectral norm on every convolution (as published), or BatchNorm."""
    if architecture == "pspstain-light":
        return Generator(LIGHT_WIDTH, "batch")
    generator = Generator()
    for layer in generator.modules():
        if isinstance(layer, nn.Conv2d):
            spectral_norm(layer)
    _settle_spectral_norm(generator)
    return generator


def plain_state(generator: Generator, architecture: StainerArchitecture) -> dict[str, Tensor]:
    """Return the tensors of the plain form: BatchNorm or spectral norm folded into the convolutions."""
    fold = fold_batch_norm if architecture == "pspstain-light" else fold_spectral_norm
    return fold(generator.state_dict())


def settled(generator: Generator, batches: Iterable[Tensor]) -> Generator:
    """Return a copy in eval whose BatchNorm statistics are those of `batches` (B, 3, H, W), and spectral norms exact.

    Averaged weights need it: averages of statistics that belonged to other weights are not theirs.
    """
    fresh = copy.deepcopy(generator)
    fresh.requires_grad_(requires_grad=False)
    norms = [layer for layer in fresh.modules() if isinstance(layer, nn.BatchNorm2d)]
    _settle_spectral_norm(fresh)
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        fresh.train()
        with torch.no_grad():
            for batch in batches:
                fresh(batch)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    fresh.eval()
    return fresh


def read_plain(path: Path, architecture: StainerArchitecture) -> dict[str, Tensor]:
    """Return the plain form in a .safetensors file (of `models import`, or of a training). Raises WeightsError."""
    try:
        state = load(path.read_bytes())
    except OSError as error:
        raise WeightsError(path, f"cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        remedy = "bring other checkpoints into this form: wsi-her2 models import"
        raise WeightsError(path, "is not a safetensors file", remedy) from error
    problem = first_problem(state, plain_specs(architecture))
    if problem:
        raise WeightsError(path, f"is not {architecture}: {problem}")
    return dict(state)


def start_from(generator: Generator, plain: Mapping[str, Tensor], he: Tensor) -> None:
    """Give the trainable `generator` the weights of its plain form, so that it answers alike.

    BatchNorm that had been folded away returns as one that changes nothing on `he` (B, 3, H, W in [-1, 1]).
    """
    named = {
        f"{key}_orig" if f"{key}_orig" in generator.state_dict() else key: tensor.float()
        for key, tensor in plain.items()
    }
    generator.load_state_dict(named, strict=False)  # the norms have entries of their own
    _settle_spectral_norm(generator)
    hooks = [
        layer.register_forward_pre_hook(_change_nothing)
        for layer in generator.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        generator.train()(he)
    for hook in hooks:
        hook.remove()


def _change_nothing(norm: nn.BatchNorm2d, given: tuple[Tensor]) -> None:
    """Set scale and offset of `norm` so that its output equals what it is given."""
    variance, mean = torch.var_mean(given[0], dim=(0, 2, 3), correction=0)
    norm.weight.data.copy_(torch.sqrt(variance + norm.eps))
    norm.bias.data.copy_(mean)


def _settle_spectral_norm(generator: Generator) -> None:
    """Set u and v of every spectrally normalised convolution to the leading singular vectors themselves."""
    state = generator.state_dict()  # its tensors are the network's own
    for name, weight in state.items():
        if name.endswith(".weight_orig"):
            left, _, right = torch.linalg.svd(weight.reshape(weight.shape[0], -1), full_matrices=False)
            stem = name.removesuffix("_orig")
            state[f"{stem}_u"].copy_(left[:, 0])
            state[f"{stem}_v"].copy_(right[0])
