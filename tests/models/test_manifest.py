"""Manifests and where they are looked for; nothing here needs torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wsi_pipeline.errors import WeightsError
from wsi_pipeline.models.extra import require_models_extra
from wsi_pipeline.models.manifest import IMAGENET, Manifest, manifest_json, read_manifest
from wsi_pipeline.models.registry import Weights, find_weights, manifest_paths, shipped_folder, user_folder

CONTENT = b"tensors"


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "name": "toy",
        "architecture": "ihcnet-light",
        "file": "toy.safetensors",
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "tile_px": 256,
        "input_px": 224,
        "mpp": 0.5,
        "normalisation": IMAGENET.model_dump(mode="json"),
        "class_names": ["0", "1+", "2+", "3+"],
        "licence": "CC0-1.0",
        "fixture": {"seed": 1, "height_px": 64, "width_px": 96, "expected": [[0.5, -1, 2, 0]], "tolerance": 0.001},
    } | changes


def write(folder: Path, name: str = "toy", **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.safetensors").write_bytes(CONTENT)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(facts(name=name, file=f"{name}.safetensors", **changes)), encoding="utf-8")
    return path


def test_manifest_survives_writing(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, metrics={"kappa": 0.71, "data": "Grüße"}))
    (tmp_path / "toy.json").write_bytes(manifest_json(manifest))
    assert read_manifest(tmp_path / "toy.json") == manifest
    assert manifest.is_classifier
    assert manifest.intended_use.startswith("Research use only")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "resnet50"}, "architecture"),
        ({"class_names": ["3+", "2+", "1+", "0"]}, "class_names"),
        ({"architecture": "pspstain", "class_names": []}, "input_px"),
        ({"features_relu": True}, "features_relu belongs to ihcnet"),
        ({"sha256": "abc"}, "sha256"),
        ({"file": "../elsewhere.safetensors"}, "file"),
        ({"mpp": 40}, "mpp"),
        ({"normalisation": {"mean": [0, 0, 0], "std": [1, 0, 1]}}, "must be positive"),
        ({"tile_px": 250}, "tile_px"),
        ({"colour": "blue"}, "colour"),
        ({"name": "other"}, "calls itself 'other'"),
    ],
)
def test_wrong_manifest_is_refused_with_its_field(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    path = tmp_path / "toy.json"
    path.write_text(json.dumps(facts(**changes)), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"toy\.json") as caught:
        read_manifest(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe", b"[1, 2]"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "toy.json"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is not a weights manifest"):
        read_manifest(path)


def test_weights_are_found_in_the_named_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, user = tmp_path / "named", tmp_path / "mine"
    monkeypatch.setenv("WSI_HER2_WEIGHTS", str(user))
    write(named, licence="named")
    write(user, licence="user")
    write(user, "other")
    assert user_folder() == user
    assert {"toy", "other"} <= manifest_paths(named).keys()
    assert find_weights("toy", named).manifest.licence == "named"
    assert find_weights("toy").manifest.licence == "user"
    assert find_weights("other", named).folder == user


def test_user_folder_lies_in_the_home_folder_when_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_HER2_WEIGHTS", "")
    assert user_folder() == Path.home() / ".wsi-her2" / "weights"


def test_shipped_folder_exists() -> None:
    assert shipped_folder().is_dir()


def test_missing_weights_are_named_with_the_places(tmp_path: Path) -> None:
    write(tmp_path, "there")
    with pytest.raises(WeightsError) as caught:
        find_weights("ihcnet", tmp_path)
    sentence = str(caught.value)
    assert caught.value.exit_code == 11
    for words in ("ihcnet: no such weights in", str(tmp_path), str(user_folder()), str(shipped_folder()), "there"):
        assert words in sentence
    with pytest.raises(WeightsError, match="is not a folder of weights"):
        find_weights("ihcnet", tmp_path / "nowhere")


def test_tensors_are_read_only_when_whole(tmp_path: Path) -> None:
    write(tmp_path)
    weights = find_weights("toy", tmp_path)
    assert weights.read() == CONTENT
    weights.tensors.write_bytes(CONTENT[:-1] + b"S")
    with pytest.raises(WeightsError, match="was changed: its sha256 is"):
        weights.read()
    weights.tensors.unlink()
    with pytest.raises(WeightsError, match="the tensors are missing"):
        weights.read()
    weights.tensors.mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.read()


def test_weights_know_their_file(tmp_path: Path) -> None:
    manifest = Manifest.model_validate(facts())
    assert Weights(manifest, tmp_path).tensors == tmp_path / "toy.safetensors"


def test_absent_extra_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchvision" else found("json"))
    with pytest.raises(WeightsError, match=r'torchvision: is not installed \(type: pip install .*\[models\]"\)'):
        require_models_extra()


def test_manifests_need_no_torch() -> None:
    program = (
        "import sys, wsi_pipeline.models.manifest, wsi_pipeline.models.registry, wsi_pipeline.cli.models\n"
        "print([name for name in ('torch', 'torchvision', 'safetensors') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("said", "trained_on"),
    [
        ({}, "unknown"),
        ({"saw_real_tissue": True}, "unknown"),  # imports assumed it
        ({"saw_real_tissue": False}, "phantoms"),
        ({"trained_on": "real tissue"}, "real tissue"),
    ],
)
def test_what_nobody_said_of_weights_is_unknown(tmp_path: Path, said: dict[str, Any], trained_on: str) -> None:
    manifest = read_manifest(write(tmp_path, **said))
    assert (manifest.trained_on, manifest.saw_real_tissue) == (trained_on, trained_on == "real tissue")
    assert (manifest.marker, manifest.stains_her2) == (None, None)
    assert "saw_real_tissue" not in json.loads(manifest_json(manifest))


@pytest.mark.parametrize(
    ("marker", "is_her2"), [("HER2", True), ("HER-2/neu", True), ("c-erbB-2", True), ("Ki67", False), ("ER", False)]
)
def test_her2_has_several_names(tmp_path: Path, marker: str, is_her2: bool) -> None:
    stainer = {"architecture": "pspstain", "class_names": [], "input_px": 256, "marker": marker}
    assert read_manifest(write(tmp_path, **stainer)).stains_her2 is is_her2
    if not is_her2:
        with pytest.raises(WeightsError, match="marker belongs to a stainer"):
            read_manifest(write(tmp_path, "tiles", marker=marker))
