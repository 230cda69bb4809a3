"""Checkpoints from elsewhere: what is taken, what is refused and in which words."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
safetensors_torch = pytest.importorskip("safetensors.torch", reason=REASON)

from torch import Tensor, nn  # noqa: E402
from torchvision.models import resnet18  # noqa: E402

from wsi_pipeline.errors import OutputError, WeightsError  # noqa: E402
from wsi_pipeline.models.architectures import build, forms  # noqa: E402
from wsi_pipeline.models.importing import import_checkpoint  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.pspstain import LIGHT_WIDTH, Generator  # noqa: E402

CARD = ModelCard(name="toy", mpp=0.5, licence="CC0-1.0", marker="HER2", metrics={"kappa": 0.5})
KEY = "model.8.weight"


@pytest.fixture(scope="module")
def light() -> dict[str, Tensor]:
    torch.manual_seed(21)
    return dict(build("pspstain-light").state_dict())


def saved(content: Any, folder: Path, name: str = "checkpoint.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def refusal(path: Path, folder: Path) -> str:
    """Return the one sentence with which `path` is refused; nothing may have been written."""
    out = folder / "out"
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path, CARD, out)
    assert not out.exists()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "wrap", [dict, lambda s: {"epoch": 3, "model_state": s}, lambda s: {"state_dict": s, "lr": 1e-3}]
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_and_parallel_checkpoints(
    light: dict[str, Tensor], wrap: Callable[[Any], Any], prefix: str, tmp_path: Path
) -> None:
    path = saved(wrap({prefix + key: tensor for key, tensor in light.items()}), tmp_path)
    manifest = import_checkpoint(path, CARD, tmp_path / "out")
    assert manifest.architecture == "pspstain-light"
    assert manifest.metrics == {"kappa": 0.5}
    loaded = load_model("toy", tmp_path / "out").network.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in light.items())
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["toy.json", "toy.safetensors"]


def test_ihcnet_in_half_precision(tmp_path: Path) -> None:
    torch.manual_seed(22)
    state = build("ihcnet").half().state_dict()
    card = CARD.model_copy(update={"features_relu": True})
    manifest = import_checkpoint(saved({"model_state": state}, tmp_path), card, tmp_path)
    assert (manifest.architecture, manifest.features_relu, manifest.input_px) == ("ihcnet", True, 224)
    loaded = load_model("toy", tmp_path).network
    assert loaded.features_relu is True
    assert torch.equal(loaded.backbone.conv0.weight, state["backbone.conv0.weight"].float())
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_light_ihcnet_as_safetensors(tmp_path: Path) -> None:
    torch.manual_seed(23)
    path = tmp_path / "checkpoint.safetensors"
    safetensors_torch.save_file(build("ihcnet-light").state_dict(), path)
    assert import_checkpoint(path, CARD, tmp_path).architecture == "ihcnet-light"


def test_batch_normalised_generator_is_folded(randomise: Callable[[nn.Module, int], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(24)
    trained = randomise(Generator(LIGHT_WIDTH, "batch"), 25)
    assert import_checkpoint(saved(trained.state_dict(), tmp_path), CARD, tmp_path).architecture == "pspstain-light"
    image = torch.rand(1, 3, 20, 28, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        # In double precision: what is left is the rounding of the folded weights, not that of a processor's kernels.
        folded = load_model("toy", tmp_path).network.double()
        assert torch.allclose(folded(image), trained.double()(image), atol=1e-5)


def test_forms_are_those_documented() -> None:
    assert {form.words: len(form.specs) for form in forms()} == {
        "ihcnet": 1221, "ihcnet-light": 310, "pspstain": 40, "pspstain-light": 40,
        "pspstain with spectral norm": 76, "pspstain-light with BatchNorm": 125,
    }  # fmt: skip


class Harmful:
    """Unpickling it runs a command."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_is_never_executed(writer: str, protocol: int, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    path = tmp_path / "checkpoint.pth"
    if writer == "torch":
        torch.save({"model.1.weight": Harmful(witness)}, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(Harmful(witness), protocol=protocol))
    assert "nothing in it was executed" in refusal(path, tmp_path)
    assert not witness.exists()
    if writer == "pickle":
        pickle.loads(path.read_bytes())  # noqa: S301 - proves that the file would do harm
        assert witness.exists()


def test_whole_pickled_network_is_refused_with_its_class(tmp_path: Path) -> None:
    assert "asks for torch.nn.modules.linear.Linear" in refusal(saved(nn.Linear(2, 3), tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["notes.pth", "notes.pt", "notes.safetensors"])
@pytest.mark.parametrize("content", [b"", b"x", b"These are notes, not weights.\n" * 40, bytes(range(256)) * 8])
def test_files_without_tensors_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert "is not a whole" in refusal(tmp_path / name, tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_truncated_checkpoint_is_refused(light: dict[str, Tensor], zipped: bool, share: float, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(light, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "is not a whole checkpoint of tensors" in refusal(path, tmp_path)


def test_truncated_safetensors_is_refused(light: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    safetensors_torch.save_file(light, path)
    path.write_bytes(path.read_bytes()[:-7])
    assert "is not a whole safetensors file" in refusal(path, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds list"),
        ({}, "holds dict without tensors"),
        ({"state_dict": {}}, "without tensors"),
        ({"epoch": 3}, "'epoch' is int, not a tensor"),
        ({7: 1}, "7 is int"),
        (nn.Linear(2, 3).state_dict(), "'weight' belongs to none of ihcnet, ihcnet-light, pspstain, pspstain-light"),
    ],
)
def test_other_contents_are_refused_with_their_first_key(content: Any, words: str, tmp_path: Path) -> None:
    assert words in refusal(saved(content, tmp_path), tmp_path)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    state = resnet18(weights=None).state_dict()
    assert "'conv1.weight' belongs to none of" in refusal(saved(state, tmp_path), tmp_path)


def test_a_generator_of_another_width_is_refused(tmp_path: Path) -> None:
    path = saved(Generator(8, "folded").state_dict(), tmp_path)
    assert "'model.1.weight' has shape (8, 3, 7, 7) instead of" in refusal(path, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update({KEY: s[KEY].transpose(0, 1)}), f"{KEY!r} has shape (32, 64, 3, 3) instead of (64, 32,"),
        (lambda s: s.pop(KEY), f"{KEY!r} is missing"),
        (lambda s: s.update({"model.99.weight": s[KEY]}), "'model.99.weight' does not belong to it"),
        (lambda s: s.update({KEY: s[KEY].clone().index_fill_(0, torch.tensor([5]), float("nan"))}), "not finite"),
        (lambda s: s.update({KEY: s[KEY].clone().fill_(float("inf"))}), f"{KEY!r} holds values that are not finite"),
        (lambda s: s.update({KEY: s[KEY].to(torch.int32)}), f"{KEY!r} holds torch.int32 instead of fractions"),
        (lambda s: s.update({KEY: s[KEY].to(torch.complex64)}), f"{KEY!r} holds torch.complex64"),
        (lambda s: s.update({KEY: s[KEY].to_sparse()}), f"{KEY!r} holds"),
        (lambda s: s.update({"model.23.weight": s["model.23.weight"] * 1e38}), "outputs are not finite"),
    ],
)  # fmt: skip
def test_one_wrong_tensor_is_named(
    light: dict[str, Tensor], change: Callable[[dict[str, Tensor]], Any], words: str, tmp_path: Path
) -> None:
    state = dict(light)
    change(state)
    path = saved(state, tmp_path)
    if "outputs" in words:
        with pytest.raises(WeightsError, match=words):
            import_checkpoint(path, CARD, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    else:
        assert words in refusal(path, tmp_path)


def test_first_offending_key_comes_in_the_order_of_the_network(light: dict[str, Tensor], tmp_path: Path) -> None:
    state = dict(reversed(light.items()))
    state["model.27.bias"] = torch.zeros(4)
    state["model.4.weight"] = torch.zeros(1)
    assert "'model.4.weight' has shape (1,)" in refusal(saved(state, tmp_path), tmp_path)


def test_spectral_norm_of_zero_is_refused(spectral_generator: nn.Module, tmp_path: Path) -> None:
    state = spectral_generator.state_dict()
    state["model.4.weight_u"] = torch.zeros(128)
    sentence = refusal(saved(state, tmp_path), tmp_path)
    assert (
        "pspstain with spectral norm, but after folding 'model.4.weight' holds values that are not finite" in sentence
    )


def test_missing_file_and_unknown_ending(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "absent.pth", tmp_path)
    (tmp_path / "folder.pth").mkdir()
    assert "cannot be read" in refusal(tmp_path / "folder.pth", tmp_path)
    assert ".h5 ending" in refusal(tmp_path / "weights.h5", tmp_path)
    assert "no ending" in refusal(tmp_path / "weights", tmp_path)


def test_features_relu_is_for_ihcnet(light: dict[str, Tensor], tmp_path: Path) -> None:
    card = CARD.model_copy(update={"features_relu": True})
    with pytest.raises(WeightsError, match="--features-relu is for ihcnet"):
        import_checkpoint(saved(light, tmp_path), card, tmp_path)


def test_a_taken_name_is_never_overwritten(light: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(light, tmp_path)
    import_checkpoint(path, CARD, tmp_path)
    before = (tmp_path / "toy.json").read_bytes()
    with pytest.raises(WeightsError, match="there are weights of this name"):
        import_checkpoint(path, CARD, tmp_path)
    assert (tmp_path / "toy.json").read_bytes() == before


def test_a_folder_that_cannot_be_written(light: dict[str, Tensor], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="cannot be written"):
        import_checkpoint(saved(light, tmp_path), CARD, tmp_path / "file")


def test_an_interrupted_write_leaves_no_manifest(
    light: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(light, tmp_path)
    replace = Path.replace

    def fail_on_manifest(source: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise OSError(28, "No space left on device")
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", fail_on_manifest)
    with pytest.raises(OutputError, match="No space left on device"):
        import_checkpoint(path, CARD, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["toy.safetensors"]
    monkeypatch.undo()
    assert import_checkpoint(path, CARD, tmp_path / "out").name == "toy"
