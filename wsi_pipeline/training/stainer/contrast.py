"""PatchNCE: a place of the virtual IHC must be recognisable as the same place of the H&E among other places."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsi_pipeline.models.pspstain import Generator
from wsi_pipeline.training.stainer.options import NceOptions


def encode(generator: Generator, image: Tensor, layers: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
    """Return what the last of `layers` gives and the features (B, C, H, W) of all of them, in their order."""
    features = []
    for index, layer in enumerate(generator.model[: max(layers) + 1]):
        image = layer(image)
        if index in layers:
            features.append(image)
    return image, features


def layer_channels(generator: Generator, layers: Sequence[int]) -> list[int]:
    """Return how many channels each of `layers` gives."""
    channels, found = 3, []
    for index, layer in enumerate(generator.model[: max(layers) + 1]):
        convolutions = [part for part in layer.modules() if isinstance(part, nn.Conv2d)]
        channels = convolutions[-1].out_channels if convolutions else channels
        if index in layers:
            found.append(channels)
    return found


class PatchHeads(nn.Module):
    """For each layer two linear layers that make its features comparable (CUT's F, "mlp_sample")."""

    def __init__(self, channels: Sequence[int], options: NceOptions) -> None:
        """Build for layers with these channels."""
        super().__init__()
        self.options = options
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, options.features), nn.ReLU(), nn.Linear(options.features, options.features))
            for count in channels
        )

    def forward(self, query: list[Tensor], key: list[Tensor], random: torch.Generator) -> Tensor:
        """Return the PatchNCE loss, a scalar: mean over layers, images and places.

        `query` (of the virtual IHC) and `key` (of the H&E, without gradient) are features (B, C, H, W) by layer;
        `random` chooses the places, the same in every image of a batch.
        """
        losses = []
        for head, mine, theirs in zip(self.heads, query, key, strict=True):
            places = torch.randperm(mine.shape[2] * mine.shape[3], generator=random)[: self.options.patches]
            places = places.to(mine.device)
            asked, known = (
                functional.normalize(head(features.flatten(2)[:, :, places].transpose(1, 2)).float(), dim=2)
                for features in (mine, theirs.detach())
            )
            alike = torch.bmm(asked, known.detach().transpose(1, 2)) / self.options.temperature  # (B, P, P)
            same = torch.arange(alike.shape[1], device=alike.device).expand(alike.shape[0], -1)
            losses.append(functional.cross_entropy(alike.transpose(1, 2), same))
        return torch.stack(losses).mean()
