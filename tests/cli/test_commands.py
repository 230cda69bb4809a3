"""The small commands: help, info, doctor, settings; and how settings are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from wsi_pipeline.config import Settings, load_assay, load_settings, parse_override, settings_hash
from wsi_pipeline.errors import UsageError

REPOSITORY = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command() -> Run:
    """Return what runs `wsi-her2` with any words."""

    def run(*words: Any, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WSI_HER2_")}
        environment |= {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "160", "NO_COLOR": "1", **variables}
        done = subprocess.run(
            [sys.executable, "-m", "wsi_pipeline.cli.main", *(str(word) for word in words)],
            capture_output=True, text=True, env=environment, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_help_lists_the_commands(words: tuple[str, ...], command: Run) -> None:
    text = command(*words).stdout
    for name in ("run", "info", "doctor", "settings"):
        assert name in text
    assert "Research use only" in text


def test_help_of_run_names_every_option_of_the_contract(command: Run) -> None:
    text = command("run", "--help").stdout
    for option in ("--out", "--mpp", "--stain", "--assay", "--roi", "--pieces", "--scheduler", "--json", "--debug"):
        assert option in text


@pytest.mark.parametrize("words", [("--help",), ("run", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    heavy = ("torch", "dask", "distributed", "zarr", "pyarrow", "skimage", "openslide", "shapely", "cv2", "numpy")
    program = (
        "import sys\nfrom wsi_pipeline.cli.main import main\n"
        f"sys.argv = ['wsi-her2', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', [name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_an_unknown_command_is_one_line(command: Run) -> None:
    done = command("score", "a.svs", code=2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "score" in done.stderr
    missing = command("run", code=2)
    assert missing.stderr.count("\n") == 1
    assert "wsi-her2" in missing.stderr


def test_info_shows_what_a_slide_is(command: Run, samples: Path) -> None:
    slide = samples / "phantom_3plus.svs"
    facts = json.loads(command("info", slide, "--json").stdout)
    assert (facts["width"], facts["height"]) == (2710, 1907)
    assert (facts["mpp_x"], facts["mpp_y"], facts["mpp_source"]) == (0.25, 0.25, "metadata:openslide.mpp-x")
    assert (facts["vendor"], facts["reader"], facts["stain_guess"]) == ("aperio", "fast", "ihc")
    assert [(level["width"], level["height"]) for level in facts["levels"]] == [(2710, 1907), (678, 477)]
    text = command("info", slide).stdout
    for words in ("2710", "1907", "0.25", "metadata:openslide.mpp-x", "aperio", "ihc", "2710 x 1907 (/1)"):
        assert words in text
    assert json.loads(command("info", samples / "phantom_he.svs", "--json").stdout)["stain_guess"] == "he"


def test_info_shows_a_slide_without_a_pixel_size(command: Run, tmp_path: Path) -> None:
    path = tmp_path / "plain.png"
    pixels = np.random.default_rng(0).integers(0, 256, (389, 613, 3), np.uint8)
    cv2.imwrite(str(path), pixels)
    facts = json.loads(command("info", path, "--json").stdout)
    assert (facts["mpp_x"], facts["mpp_y"], facts["mpp_source"]) == (None, None, "missing")
    assert "unknown" in command("info", path).stdout
    stated = json.loads(command("info", path, "--json", "--mpp", "0.5").stdout)
    assert (stated["mpp_x"], stated["mpp_source"]) == (0.5, "--mpp")


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (513, 2)])
def test_info_of_a_tiny_image(size: tuple[int, int], command: Run, tmp_path: Path) -> None:
    path = tmp_path / "tiny.png"
    cv2.imwrite(str(path), np.full((*size, 3), 90, np.uint8))
    facts = json.loads(command("info", path, "--json").stdout)
    assert (facts["height"], facts["width"]) == size


def test_info_of_no_slide_is_one_line(command: Run, tmp_path: Path) -> None:
    path = tmp_path / "text.svs"
    path.write_text("text")
    done = command("info", path, code=4)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert "Traceback" in command("info", path, "--debug", code=4).stderr


def test_doctor_names_versions_readers_device_and_disk(command: Run) -> None:
    text = command("doctor").stdout
    for name in (
        "wsi-her2:",
        "python:",
        "openslide-python:",
        "numpy:",
        "processors:",
        "memory:",
        "device:",
        "free disk",
    ):
        assert name in text
    assert "reads and writes with openslide: yes" in text


def test_doctor_looks_at_the_folder_it_is_given(command: Run, tmp_path: Path) -> None:
    assert f"free disk in {tmp_path}" in command("doctor", tmp_path).stdout


def test_settings_are_a_preset_that_says_the_same(command: Run, tmp_path: Path) -> None:
    text = command("settings", "--set", "rule.min_cells=250").stdout
    values = yaml.safe_load(text)
    assert values["rule"]["min_cells"] == 250
    assert Settings(**values) == load_settings(None, {"rule.min_cells": 250})
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert command("settings", "--preset", path).stdout == text
    assert command("settings", "--set", "rule.nothing=2", code=2).stderr.count("\n") == 1


def test_the_environment_comes_before_defaults_only(command: Run) -> None:
    variables = {"WSI_HER2_RULE__MIN_CELLS": "333", "WSI_HER2_ENGINE__EXECUTOR": "serial"}
    values = yaml.safe_load(command("settings", **variables).stdout)
    assert (values["rule"]["min_cells"], values["engine"]["executor"]) == (333, "serial")
    chosen = yaml.safe_load(command("settings", "--set", "rule.min_cells=444", **variables).stdout)
    assert chosen["rule"]["min_cells"] == 444
    broken = command("settings", code=2, WSI_HER2_RULE="{not json")
    assert broken.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"rule.min_cells": "many"}, "rule.min_cells"),
        ({"rule": 5}, "rule"),
        ({"rule.min_cells": 5, "rule.min_cells.deep": 5}, "min_cells is a value, not a group"),
        ({"tiling.tile_px": 256, "tiling.map_px": 24}, "multiple of tiling.map_px"),
        ({"tiling.tile_px": 64, "tiling.region_tiles": 1}, "map px wide"),
    ],
)
def test_overrides_that_make_no_sense(overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_settings(None, overrides)


@pytest.mark.parametrize("text", ["min_cells", "=3", " =3", "rule.x=[1"])
def test_override_texts_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError):
        parse_override(text)


def test_override_texts_are_yaml() -> None:
    assert parse_override("rule.min_cells=200") == ("rule.min_cells", 200)
    assert parse_override("assay=a=b") == ("assay", "a=b")
    assert parse_override("cells.nucleus_radius_um=[1, 5]") == ("cells.nucleus_radius_um", [1, 5])


@pytest.mark.parametrize("content", ["- a\n- b\n", "rule: [", "\x00"])
def test_a_preset_that_is_no_mapping(content: str, tmp_path: Path) -> None:
    path = tmp_path / "preset.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"preset\.yaml"):
        load_settings(str(path), {})


@pytest.mark.parametrize("name", ["../configs/serial", "assays/default", "nobody", "nobody.yaml"])
def test_presets_outside_the_folder_are_not_names(name: str) -> None:
    with pytest.raises(UsageError):
        load_settings(name, {})


def test_the_hash_covers_what_changes_numbers_only() -> None:
    assay = load_assay("default")
    base = settings_hash(load_settings(None, {}), assay)
    assert settings_hash(load_settings("serial", {"engine.workers": 7, "output.overlay_px": 900}), assay) == base
    for change in ({"rule.min_cells": 99}, {"cells.directions": 30}, {"tissue.open_um": 31}, {"tiling.tile_px": 512}):
        assert settings_hash(load_settings(None, change), assay) != base
    assert settings_hash(load_settings(None, {}), assay.model_copy(update={"intense": 0.71})) != base
