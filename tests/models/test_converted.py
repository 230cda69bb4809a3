"""Classifiers in OpenVINO's form: the answers of torch, kept once, made again when damaged, refused when wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REASON = "the extra `models` is not installed"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("torchvision", reason=REASON)
pytest.importorskip("safetensors", reason=REASON)
pytest.importorskip("openvino", reason="OpenVINO is not installed")

from torch import nn  # noqa: E402

from wsi_pipeline.errors import WeightsError  # noqa: E402
from wsi_pipeline.explain.cam import MarginMaps  # noqa: E402
from wsi_pipeline.models import converted  # noqa: E402
from wsi_pipeline.models.architectures import build  # noqa: E402
from wsi_pipeline.models.classify import TileRunner  # noqa: E402
from wsi_pipeline.models.conversion import plain_head  # noqa: E402
from wsi_pipeline.models.converted import ConvertedClassifier, keep_converted  # noqa: E402
from wsi_pipeline.models.fixture_tiles import fixture_tiles  # noqa: E402
from wsi_pipeline.models.head import head_maps  # noqa: E402
from wsi_pipeline.models.load import load_model  # noqa: E402
from wsi_pipeline.models.manifest import ModelCard  # noqa: E402
from wsi_pipeline.models.registry import Weights, find_weights  # noqa: E402
from wsi_pipeline.models.runtime import Runtime  # noqa: E402
from wsi_pipeline.models.save import save_weights  # noqa: E402

TILES = np.concatenate([fixture_tiles(seed, 256, 256) for seed in (1, 2, 3)])[:7]
"""Seven tiles: no multiple of any batch."""

BATCHING = 1e-6
"""Largest difference of a logit that the batch a tile is in may make."""

OPENVINO = Runtime("cpu", "fp32", "openvino")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory, randomise: Callable[[nn.Module, int], nn.Module]) -> Weights:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    network = randomise(build("ihcnet-light"), 3)
    save_weights(network.state_dict(), "ihcnet-light", ModelCard(name="toy", mpp=0.5, licence="CC0-1.0"), folder)
    return find_weights("toy", folder)


@pytest.fixture(scope="module")
def classifier(light: Weights) -> ConvertedClassifier:
    return ConvertedClassifier(light, OPENVINO, 3)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(converted.VARIABLE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_answers_and_maps_are_those_of_torch(light: Weights, classifier: ConvertedClassifier) -> None:
    runner = TileRunner(load_model("toy", light.folder), Runtime(), 4)
    wanted, found = runner.answer(TILES), classifier.answer(TILES)
    assert found.logits.dtype == found.features.dtype == np.float32
    np.testing.assert_allclose(found.logits, wanted.logits, atol=1e-4)
    np.testing.assert_allclose(found.features, wanted.features.numpy(), atol=2e-2)  # of 6
    maps = MarginMaps(runner.network, runner.glass())
    made = maps(wanted.features)
    np.testing.assert_allclose(classifier.glass_margins, maps.glass_margins, atol=1e-4)
    np.testing.assert_allclose(classifier.maps(found.features), made, atol=1e-3 * np.abs(made).max())
    np.testing.assert_allclose(classifier.maps(found.features).mean(axis=(2, 3)), np.diff(found.logits), atol=1e-3)


@pytest.mark.parametrize("architecture", ["ihcnet", "ihcnet-light"])
def test_the_plain_head_is_the_heads_function_and_gradient(
    architecture: str, randomise: Callable[[nn.Module, int], nn.Module]
) -> None:
    torch.manual_seed(8)
    network = randomise(build(architecture), 8)  # type: ignore[arg-type]
    head = plain_head(network.classifier)  # type: ignore[arg-type]
    features = torch.rand(5, head.weights[0].shape[1], 2, 3) * 4 - 1
    with torch.inference_mode():
        wanted = network.logits(features).numpy()  # type: ignore[operator]
    np.testing.assert_allclose(head.logits(features.mean(dim=(2, 3)).numpy()), wanted, atol=1e-5)
    glass = torch.rand(features.shape[1]) * 2
    maps = MarginMaps(network, glass)(features)  # type: ignore[arg-type]
    assert np.abs(maps).max() > 1e-3
    np.testing.assert_allclose(head_maps(head, features.numpy(), glass.numpy()), maps, atol=1e-5 * np.abs(maps).max())


def test_a_tiles_answer_does_not_depend_on_its_batch(classifier: ConvertedClassifier) -> None:
    together = classifier.answer(TILES)
    assert together.logits.shape == (7, 4)
    assert together.features.shape == (7, 1280, 7, 7)
    assert np.ptp(together.logits, axis=0).min() > 100 * BATCHING
    np.testing.assert_allclose(classifier.answer(TILES[::-1]).logits[::-1], together.logits, atol=BATCHING)
    for first, last in ((0, 1), (2, 4), (1, 6)):
        part = classifier.answer(TILES[first:last])
        np.testing.assert_allclose(part.logits, together.logits[first:last], atol=BATCHING)
        np.testing.assert_allclose(part.features, together.features[first:last], atol=1e-4, rtol=1e-4)


def test_no_tiles_give_no_answers(classifier: ConvertedClassifier) -> None:
    answers = classifier.answer(TILES[:0])
    assert (answers.logits.shape, answers.features.shape) == ((0, 4), (0, 1280, 7, 7))
    assert classifier.maps(answers.features).shape == (0, 3, 7, 7)


def test_later_answers_leave_earlier_ones_alone(classifier: ConvertedClassifier) -> None:
    first = classifier.answer(TILES[:2])
    kept = first.logits.copy(), first.features.copy()
    classifier.answer(TILES[2:])
    np.testing.assert_array_equal(first.logits, kept[0])
    np.testing.assert_array_equal(first.features, kept[1])


def test_what_is_kept_is_read_and_needs_no_torch(light: Weights, own_cache: Path) -> None:
    keep_converted(light, 3)
    (kept,) = own_cache.iterdir()
    made = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    assert set(made) == {"contents.json", "head.npz", "trunk.bin", "trunk.xml"}
    program = (
        "import sys; from pathlib import Path; from wsi_pipeline.models.registry import find_weights;"
        "from wsi_pipeline.models.runtime import Runtime; from wsi_pipeline.explain.looking import look_through;"
        "import numpy; look = look_through('toy', Path(sys.argv[1]), Runtime('cpu', 'fp32', 'openvino'), 3);"
        "print(look(numpy.zeros((2, 256, 256, 3), numpy.uint8)).maps.shape, *({'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(light.folder)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "(2, 3, 7, 7)"
    keep_converted(light, 3)
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == made


@pytest.mark.parametrize("name", ["trunk.bin", "contents.json"])
def test_what_was_damaged_is_made_again(name: str, light: Weights, own_cache: Path) -> None:
    keep_converted(light, 3)
    (kept,) = own_cache.iterdir()
    sound = (kept / name).read_bytes()
    (kept / name).write_bytes(sound[:-7])
    assert ConvertedClassifier(light, OPENVINO, 3).answer(TILES[:1]).logits.shape == (1, 4)
    assert (kept / name).stat().st_size == len(sound)
    assert list(own_cache.iterdir()) == [kept]


def test_what_a_killed_process_left_goes_with_the_next_conversion(light: Weights, own_cache: Path) -> None:
    old, young = own_cache / f"{converted.UNFINISHED}abc", own_cache / f"{converted.UNFINISHED}def"
    foreign = own_cache / ".vscode-server"  # somebody named a folder that holds other things
    for left in (old, young, foreign):
        left.mkdir(parents=True)
        (left / "trunk.bin").write_bytes(b"half")
    for left in (old, foreign):
        os.utime(left, (0, 0))
    keep_converted(light, 3)
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_other_weights_and_batches_are_kept_apart(light: Weights, own_cache: Path) -> None:
    other = light._replace(manifest=light.manifest.model_copy(update={"mpp": 0.49}))
    places = {converted._place_of(weights.manifest, batch) for weights in (light, other) for batch in (3, 4)}
    assert len(places) == 4
    assert {place.parent for place in places} == {own_cache}


def test_where_nothing_can_be_kept_it_is_made_for_the_moment(
    light: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv(converted.VARIABLE, str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ConvertedClassifier(light, OPENVINO, 3).answer(TILES[:2]).logits.shape == (2, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_tensors_that_changed_are_noticed_though_the_old_ones_are_kept(
    light: Weights, own_cache: Path, tmp_path: Path
) -> None:
    for path in light.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = find_weights("toy", tmp_path)
    keep_converted(weights, 3)
    content = bytearray(weights.tensors.read_bytes())
    content[-9] ^= 1
    weights.tensors.write_bytes(content)
    with pytest.raises(WeightsError, match="was changed: its sha256 is"):
        ConvertedClassifier(weights, OPENVINO, 3)


def test_what_is_wrong_with_weights_is_said_by_whoever_asked(light: Weights, own_cache: Path, tmp_path: Path) -> None:
    for path in light.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = json.loads((tmp_path / "toy.json").read_text(encoding="utf-8"))
    manifest["fixture"]["expected"][0][0] += 1.0
    (tmp_path / "toy.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"^toy: its fixture outputs differ by 1,?.*import the checkpoint again"):
        keep_converted(find_weights("toy", tmp_path), 3)
    assert list(own_cache.iterdir()) == []


def test_a_kept_form_that_answers_wrongly_is_refused(
    light: Weights, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_converted(light, 3)
    plain = converted.tile_input
    monkeypatch.setattr(converted, "tile_input", lambda tiles, manifest: plain(tiles[..., ::-1], manifest))
    with pytest.raises(WeightsError, match=r"toy: in OpenVINO, fp32, its fixture outputs differ .*--backend torch"):
        ConvertedClassifier(light, OPENVINO, 3)


def test_a_program_that_fails_is_named_with_its_last_words(
    light: Weights, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converted, "PROGRAM", "wsi_pipeline.models.no_such_module")
    with pytest.raises(WeightsError, match=r"OpenVINO cannot take it \(.*no_such_module.*--backend torch"):
        keep_converted(light, 3)
    assert list(own_cache.iterdir()) == []
