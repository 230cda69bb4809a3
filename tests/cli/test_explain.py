"""`explain` as people type it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

from wsi_pipeline.cli.explain import explain
from wsi_pipeline.errors import UsageError, WeightsError

Run = Callable[..., str]
REASON = "needs the explain extra: pip install '.[explain]'"
WIDTH, HEIGHT = 731, 523


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs the command and returns what it prints."""
    monkeypatch.setenv("WSI_HER2_WEIGHTS", str(tmp_path / "nobody"))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(explain)

    def typed(*words: str | Path) -> str:
        app([str(word) for word in words], standalone_mode=False)
        return capsys.readouterr().out

    return typed


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """Return an image of a brown ring in each 256 px tile (at 0.4 um/px seen at 0.46), none of them alike."""
    picture = np.full((HEIGHT, WIDTH, 3), 225, np.uint8)
    for number in range(6):
        centre = (110 + 223 * (number % 3), 120 + 223 * (number // 3))
        cv2.circle(picture, centre, 30 + 10 * number, (60, 90, 140), 6 + number)
    path = tmp_path / "rings.png"
    cv2.imwrite(str(path), picture)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with seeded random weights: a light classifier and a light stainer."""
    torch = pytest.importorskip("torch", reason=REASON)
    pytest.importorskip("captum", reason=REASON)
    from wsi_pipeline.models.architectures import build  # noqa: PLC0415 - needs torch
    from wsi_pipeline.models.manifest import ModelCard  # noqa: PLC0415
    from wsi_pipeline.models.save import save_weights  # noqa: PLC0415

    torch.manual_seed(9)
    folder = tmp_path_factory.mktemp("weights")
    for name, architecture in (("light", "ihcnet-light"), ("stainer", "pspstain-light")):
        card = ModelCard(name=name, mpp=0.46, licence="CC0-1.0")
        save_weights(build(architecture).state_dict(), architecture, card, folder)
    return folder


def test_json_says_what_the_picture_shows(run: Run, slide: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "why.png"
    words = (slide, "--classifier", "light", "--weights", weights, "--mpp", "0.4", "-o", out)
    facts = json.loads(run(*words, "--at", "300,150", "--json"))
    assert facts["notice"].startswith("Research use only")
    assert facts["tile"] == {"number": 1, "x": 294, "y": 0, "width": 295, "height": 294}
    assert sum(facts["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert list(facts["margins_logits"]) == ["1+ against 0", "2+ against 1+", "3+ against 2+"]
    assert 0 <= facts["entropy_bits"] <= 2
    coarse = facts["maps"]["coarse"]
    assert (coarse["stride"], coarse["method"]) == (32, "integrated gradients")
    assert coarse["mean_logits"] == pytest.approx(facts["margins_logits"][facts["explained"]], abs=1e-3)
    assert coarse["min_logits"] <= coarse["mean_logits"] <= coarse["max_logits"]
    assert "glass_margin_logits" in coarse
    assert facts["maps"]["fine"] | {"layer": "stage5", "method": "hirescam", "stride": 16} == facts["maps"]["fine"]
    assert facts["picture"] == str(out)
    shown = cv2.imread(str(out))
    assert shown.shape[1] > 1400
    first = out.read_bytes()
    numbered = json.loads(run(*words, "--tile", "1", "--json"))
    assert numbered == facts
    assert out.read_bytes() == first
    run(*words, "--tile", "2")
    assert out.read_bytes() != first


def test_choices_are_heard(run: Run, slide: Path, weights: Path, tmp_path: Path) -> None:
    words = (slide, "--classifier", "light", "--weights", weights, "--mpp", "0.4", "--tile", "5", "-o")
    text = run(*words, tmp_path / "a.png", "--class", "3+", "--layer", "stage3", "--method", "gradcam", "--limit", "7")
    assert "3+ against 2+, gradcam at stage3, stride 8" in text
    assert "colours end at +-7 logits" in text
    assert text.endswith("Research use only, not for diagnosis.\n")
    assert "tile 5   level-0 px 589, 294, 142 x 229" in text  # cut at the slide's edge


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "neither --at nor --tile is given"),
        (("--at", "3,4", "--tile", "1"), "both --at and --tile are given"),
        (("--at", "here"), "'here' is not X,Y"),
        (("--at", "731,4"), "731,4 lies outside the slide of 731 x 523 px"),
        (("--tile", "6"), "6 is not one of the slide's tiles 0 to 5"),
        (("--tile", "1", "-o", "why.jpg"), "'why.jpg' does not end in .png"),
        (("--tile", "1", "--limit", "-3"), "-3.0 logits is not a range"),
        (("--tile", "1", "--layer", "norm5"), "'norm5' is no layer to show"),
        (("--tile", "1", "--classifier", "stainer"), "is a stainer of H&E"),
    ],
)
def test_what_makes_no_sense_is_refused(
    run: Run, slide: Path, weights: Path, words: tuple[str, ...], problem: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        run(slide, "--classifier", "light", "--weights", weights, "--mpp", "0.4", *words)
    assert problem in str(error.value)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".png"]  # the slide alone


def test_missing_weights_are_named(run: Run, slide: Path, weights: Path) -> None:
    with pytest.raises(WeightsError, match=r"heavy: no such weights in .*there are: .*light, .*stainer"):
        run(slide, "--classifier", "heavy", "--weights", weights, "--tile", "0")


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ({"captum"}, "captum: is not installed .type: pip install .*.explain"),
        ({"torch", "captum"}, "torch: is not installed"),
    ],
)
def test_a_missing_extra_is_named(
    run: Run, slide: Path, missing: set[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    installed = importlib.util.find_spec("typer")
    there = {"torch", "torchvision", "safetensors", "captum"} - missing

    def find_spec(name: str, package: str | None = None):
        if name in missing:
            return None
        return installed if name in there else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(WeightsError, match=problem):
        run(slide, "--classifier", "light", "--tile", "0")


def test_importing_the_command_is_light() -> None:
    heavy = ("torch", "captum", "matplotlib", "numpy", "cv2", "openslide")
    program = f"import sys, wsi_pipeline.cli.explain; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
