"""One step of PSPStain's training: discriminator, segmenter, generator; and everything that a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from wsi_pipeline.models.runtime import Runtime
from wsi_pipeline.training.loop.checkpoint import Stateful
from wsi_pipeline.training.loop.ema import Ema
from wsi_pipeline.training.loop.stepping import Stepper, set_rate
from wsi_pipeline.training.stainer.adversarial import PatchDiscriminator, fools, tells_apart
from wsi_pipeline.training.stainer.contrast import PatchHeads, encode, layer_channels
from wsi_pipeline.training.stainer.focal import FocalDensity
from wsi_pipeline.training.stainer.networks import start_from, training_generator
from wsi_pipeline.training.stainer.options import StainerOptions
from wsi_pipeline.training.stainer.protein import mlpa_loss
from wsi_pipeline.training.stainer.prototypes import Segmenter, ctpc_loss, segmentation_loss, shrunk
from wsi_pipeline.training.stainer.similarity import ms_ssim, pyramid_l1

STEP_STRIDE = 1_000_003
"""Between the seeds of neighbouring trainings, so that their steps do not share random numbers."""


class StainerTrainer:
    """Generator, its critics and their optimisers. Parts of the objective with weight 0 are neither built nor run."""

    def __init__(self, options: StainerOptions, runtime: Runtime) -> None:
        """Build everything with weights drawn from the seed, on the runtime's device."""
        self.options = options
        self.runtime = runtime
        weights = options.losses
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.generator = training_generator(options.architecture)
            heads = PatchHeads(layer_channels(self.generator, options.nce.layers), options.nce) if weights.nce else None
            self.discriminator = PatchDiscriminator(options.discriminator) if weights.adversarial else None
            self.segmenter = Segmenter(options.ctpc.width) if weights.ctpc else None
        self.heads = heads
        self.focal = FocalDensity(options.focal).to(runtime.device)
        self._learning = nn.ModuleList(network for network in (self.generator, heads) if network is not None)
        self._networks: dict[str, nn.Module] = {"generator": self._learning}
        self._networks |= {"discriminator": self.discriminator} if self.discriminator is not None else {}
        self._networks |= {"segmenter": self.segmenter} if self.segmenter is not None else {}
        self._optimisers, self._steppers = {}, {}
        for name, network in self._networks.items():
            network.to(runtime.device).to(memory_format=torch.channels_last)
            self._optimisers[name] = torch.optim.Adam(network.parameters(), lr=0.0, betas=options.optimiser.betas)
            self._steppers[name] = Stepper(self._optimisers[name], runtime, options.optimiser.clip_norm)
        self.ema = Ema(self.generator, options.optimiser.ema)

    def start_from(self, plain: Mapping[str, Tensor], he: Tensor) -> None:
        """Give the generator, and its average, the weights of a plain form; `he` (B, 3, H, W) settles the norms."""
        start_from(self.generator, plain, he.to(self.runtime.device))
        self.ema = Ema(self.generator, self.options.optimiser.ema)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """What `step` returns: the parts of the objective in use, unweighted, and the critics' own losses."""
        parts = [name for name, weight in self.options.losses.model_dump().items() if weight]
        return ("total", *parts, *(name for name in self._networks if name != "generator"))

    def parts(self) -> Mapping[str, Stateful]:
        """Return everything with a state, by name."""
        steppers = {f"{name} scale": stepper for name, stepper in self._steppers.items()}
        optimisers = {f"{name} optimiser": optimiser for name, optimiser in self._optimisers.items()}
        return {**self._networks, **optimisers, **steppers, "average": self.ema}

    def step(self, he: Tensor, ihc: Tensor, step: int, rate: float) -> dict[str, float]:
        """Learn from pairs (B, 3, H, W) in [-1, 1], and return the losses by `loss_names`.

        `rate`: what the learning rates are multiplied by. Raises UsageError when a loss is no finite number.
        """
        he, ihc = (image.to(self.runtime.device, memory_format=torch.channels_last) for image in (he, ihc))
        self._set_rates(rate)
        self.generator.train()
        with self._steppers["generator"].autocast():
            virtual, known = self._stained(he)
        losses: dict[str, Tensor] = {}
        if self.discriminator is not None:
            losses["discriminator"] = self._judge(self.discriminator, virtual, ihc)
        if self.segmenter is not None:
            losses["segmenter"] = self._segment(self.segmenter, ihc)
        parts = self.objective(virtual, known, ihc, step)
        weights = self.options.losses.model_dump()
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        self._steppers["generator"].step(total, self._learning)
        self.ema.update(self.generator)
        losses |= parts | {"total": total}
        values = torch.stack([losses[name].detach().float() for name in self.loss_names]).tolist()
        return dict(zip(self.loss_names, values, strict=True))

    def objective(self, virtual: Tensor, known: list[Tensor], ihc: Tensor, step: int) -> dict[str, Tensor]:
        """Return the unweighted parts of the generator's objective, by name.

        `virtual`, `ihc`: (B, 3, H, W) in [-1, 1]; `known`: features of the H&E by layer.
        """
        weights, parts = self.options.losses, {}
        if self.discriminator is not None:
            with self._steppers["generator"].autocast():
                parts["adversarial"] = fools(self.discriminator.requires_grad_(requires_grad=False), virtual)
        if self.heads is not None:
            parts["nce"] = self._nce(self.heads, virtual, known, step)
        virtual = virtual.float()
        if self.segmenter is not None:
            parts["ctpc"] = self._ctpc(self.segmenter.requires_grad_(requires_grad=False).eval(), virtual, ihc)
        if weights.pyramid:
            parts["pyramid"] = pyramid_l1(virtual, ihc)
        if weights.ms_ssim:
            parts["ms_ssim"] = 1 - ms_ssim((virtual + 1) / 2, (ihc + 1) / 2)
        if weights.mlpa:
            parts["mlpa"] = mlpa_loss(self.focal(virtual), self.focal(ihc), self.options.focal.floor, self.options.mlpa)
        return parts

    def _stained(self, he: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the virtual IHC of `he`, and the features of `he` that PatchNCE compares."""
        if self.heads is None:
            return self.generator(he), []
        layers = self.options.nce.layers
        encoded, known = encode(self.generator, he, layers)
        virtual: Tensor = self.generator.model[max(layers) + 1 :](encoded)
        return virtual, known

    def _judge(self, discriminator: PatchDiscriminator, virtual: Tensor, ihc: Tensor) -> Tensor:
        """Take one step of the discriminator and return its loss."""
        discriminator.requires_grad_(requires_grad=True)
        stepper = self._steppers["discriminator"]
        with stepper.autocast():
            loss = tells_apart(discriminator, virtual, ihc)
        stepper.step(loss, discriminator)
        return loss

    def _segment(self, segmenter: Segmenter, ihc: Tensor) -> Tensor:
        """Take one step of the segmenter on real IHC and return its loss."""
        segmenter.requires_grad_(requires_grad=True).train()
        stepper = self._steppers["segmenter"]
        small = shrunk(ihc, self.options.ctpc.shrink)
        with stepper.autocast():
            _, logits = segmenter(small)
        loss = segmentation_loss(logits, self.focal.tumour_mask(self.focal(small)))
        stepper.step(loss, segmenter)
        return loss

    def _nce(self, heads: PatchHeads, virtual: Tensor, known: list[Tensor], step: int) -> Tensor:
        """Return PatchNCE between virtual IHC and the features of its H&E."""
        with self._steppers["generator"].autocast():
            _, asked = encode(self.generator, virtual, self.options.nce.layers)
        random = torch.Generator().manual_seed(self.options.seed * STEP_STRIDE + step)
        loss: Tensor = heads([layer.float() for layer in asked], [layer.float() for layer in known], random)
        return loss

    def _ctpc(self, segmenter: Segmenter, virtual: Tensor, ihc: Tensor) -> Tensor:
        """Return the prototype consistency of virtual and real IHC."""
        options = self.options.ctpc
        both = torch.cat((shrunk(virtual, options.shrink), shrunk(ihc, options.shrink)))
        with self._steppers["generator"].autocast():
            features, logits = segmenter(both)
        masks = self.focal.tumour_mask(self.focal(both.detach()))
        return ctpc_loss(features, logits, masks, options.temperature)

    def _set_rates(self, rate: float) -> None:
        """Set the learning rates of all optimisers."""
        options = self.options.optimiser
        for name, optimiser in self._optimisers.items():
            divisor = options.discriminator_divisor if name == "discriminator" else 1.0
            set_rate(optimiser, rate * options.learning_rate / divisor)
