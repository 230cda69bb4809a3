"""The generators in training form: to and from the plain form without changing what they answer."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra `models` is not installed")
pytest.importorskip("torchvision", reason="the extra `models` is not installed")

from safetensors.torch import save_file  # noqa: E402

from wsi_pipeline.errors import WeightsError  # noqa: E402
from wsi_pipeline.models.architectures import first_problem, network_from, plain_specs  # noqa: E402
from wsi_pipeline.training.stainer.contrast import encode, layer_channels  # noqa: E402
from wsi_pipeline.training.stainer.networks import (  # noqa: E402
    plain_state,
    read_plain,
    settled,
    start_from,
    training_generator,
)

BOTH = pytest.mark.parametrize("architecture", ["pspstain-light", "pspstain"])


def window(seed: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 24, 20, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@BOTH
def test_the_plain_form_answers_as_the_settled_one(architecture: str) -> None:
    torch.manual_seed(1)
    ready = settled(training_generator(architecture), [window(1), window(2)])
    state = plain_state(ready, architecture)
    assert not first_problem(state, plain_specs(architecture))
    with torch.inference_mode():
        wanted, found = ready(window(3)), network_from(state, architecture)(window(3))
    assert float((wanted - found).abs().max()) < 1e-4


def test_settling_measures_the_batches_and_leaves_the_original_alone() -> None:
    torch.manual_seed(1)
    generator = training_generator("pspstain-light")
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    ready = settled(generator, [window(1), window(2)])
    first = generator.model[1](generator.model[0](torch.cat((window(1), window(2)))))
    found = ready.model[2]
    torch.testing.assert_close(found.running_mean, first.mean((0, 2, 3)).detach())
    assert float((found.running_var - first.var((0, 2, 3)).detach()).abs().max()) < 0.02 * float(
        found.running_var.max()
    )
    assert found.momentum == generator.model[2].momentum
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


@BOTH
def test_training_goes_on_from_weights_as_they_are(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    plain = plain_state(settled(training_generator(architecture), [window(1)]), architecture)
    save_file({key: tensor.contiguous() for key, tensor in plain.items()}, tmp_path / "old.safetensors")
    generator = training_generator(architecture)
    start_from(generator, read_plain(tmp_path / "old.safetensors", architecture), window(5))
    with torch.no_grad():
        wanted, found = network_from(plain, architecture)(window(5)), generator.train()(window(5))
    assert float((wanted - found).abs().max()) < 1e-3


def test_only_weights_of_the_architecture_are_taken(tmp_path: Path) -> None:
    save_file({"model.1.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"is not pspstain-light: 'model\.1\.weight' has shape \(2, 2\)"):
        read_plain(tmp_path / "other.safetensors", "pspstain-light")
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors")
    with pytest.raises(WeightsError, match=r"bad\.safetensors: is not a safetensors file"):
        read_plain(tmp_path / "bad.safetensors", "pspstain-light")
    with pytest.raises(WeightsError, match=r"absent\.safetensors: cannot be read"):
        read_plain(tmp_path / "absent.safetensors", "pspstain-light")


def test_features_have_the_channels_that_the_heads_are_built_for() -> None:
    generator = training_generator("pspstain-light").eval()
    layers = (0, 4, 8, 12, 16)
    encoded, features = encode(generator, window(1), layers)
    assert [feature.shape[1] for feature in features] == layer_channels(generator, layers) == [3, 32, 64, 64, 64]
    assert torch.equal(generator.model[17:](encoded), generator(window(1)))
