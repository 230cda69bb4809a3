"""`wsi-her2 models` as people type it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from wsi_pipeline.installation import install_line
from wsi_pipeline.models import registry

Run = Callable[..., tuple[int, str, str]]

REASON = "the extra `models` is not installed"


@pytest.fixture(autouse=True)
def _nothing_ships(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leave out the weights that ship, which have tests of their own."""
    monkeypatch.setattr(registry, "shipped_folder", lambda: tmp_path / "shipped")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a checkpoint of a light generator."""
    torch = pytest.importorskip("torch", reason=REASON)
    pytest.importorskip("torchvision", reason=REASON)
    pytest.importorskip("safetensors", reason=REASON)
    from wsi_pipeline.models.architectures import build  # noqa: PLC0415 - needs torch

    torch.manual_seed(41)
    torch.save(build("pspstain-light").state_dict(), tmp_path / "net_G.pth")
    return tmp_path / "net_G.pth"


FACTS = ("--licence", "CC0-1.0", "--mpp", "0.46", "--marker", "HER2")


def test_import_list_show_verify(wsi_her2: Run, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    code, out, _ = wsi_her2("models", "import", checkpoint, "--name", "stainer", *FACTS, "--weights", folder)
    assert (code, out) == (0, f"stainer: pspstain-light, written to {folder}\n")
    code, out, _ = wsi_her2("models", "list", "--weights", folder)
    assert code == 0
    assert "stainer  pspstain-light  CC0-1.0  yes (sha256)" in out
    assert "no weights of ihcnet, ihcnet-light, pspstain in " in out
    code, out, _ = wsi_her2("models", "show", "stainer", "--weights", folder)
    assert code == 0
    assert re.search(r"^mpp +0\.46$", out, re.MULTILINE)
    assert "outputs known to" in out
    for words in (("stainer",), ()):
        code, out, _ = wsi_her2("models", "verify", *words, "--weights", folder)
        assert (code, out) == (0, "stainer: hash, tensors and fixture outputs agree\n")


def test_import_goes_to_the_users_folder(wsi_her2: Run, checkpoint: Path, tmp_path: Path) -> None:
    assert wsi_her2("models", "import", checkpoint, "--name", "stainer", *FACTS)[0] == 0
    assert (tmp_path / "user" / "stainer.json").is_file()
    assert wsi_her2("models", "verify", "stainer")[0] == 0


def test_verify_ends_with_11(wsi_her2: Run, checkpoint: Path, tmp_path: Path) -> None:
    wsi_her2("models", "import", checkpoint, "--name", "stainer", *FACTS)
    path = tmp_path / "user" / "stainer.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["fixture"]["expected"][1][2] += 0.5
    path.write_text(json.dumps(manifest), encoding="utf-8")
    code, out, err = wsi_her2("models", "verify", "stainer")
    assert (code, out) == (11, "")
    assert err.startswith("wsi-her2: stainer: its fixture outputs differ by 0.5")
    code, out, err = wsi_her2("models", "verify")
    assert code == 11
    assert out.startswith("stainer: FAILED: its fixture outputs differ by 0.5")
    assert err == "wsi-her2: models verify: 1 of 1 weights failed\n"
    assert "yes (sha256)" in wsi_her2("models", "list")[1]
    (tmp_path / "user" / "stainer.safetensors").unlink()
    code, out, _ = wsi_her2("models", "list")
    assert code == 0
    assert "no: the tensors are missing" in out
    path.write_text("{", encoding="utf-8")
    assert "no: is not a weights manifest" in wsi_her2("models", "list")[1]


def test_nothing_there_is_said_plainly(wsi_her2: Run, tmp_path: Path) -> None:
    code, out, _ = wsi_her2("models", "list")
    assert code == 0
    assert str(tmp_path / "user") in out
    assert "wsi-her2 models import FILE" in out
    code, _, err = wsi_her2("models", "show", "ihcnet")
    assert code == 11
    assert err.startswith("wsi-her2: ihcnet: no such weights in ")
    assert err.count("\n") == 1


def test_refusals_are_one_line(wsi_her2: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("notes\n" * 20)
    code, out, err = wsi_her2("models", "import", tmp_path / "notes.pth", "--name", "stainer", *FACTS)
    assert (code, out, err.count("\n")) == (11, "", 1)
    assert "is not a whole checkpoint" in err
    code, _, err = wsi_her2("models", "import", checkpoint, "--name", "a/b", *FACTS)
    assert code == 2
    assert "--name: 'a/b'" in err
    code, _, err = wsi_her2("models", "import", checkpoint, "--name", "a", "--licence", "MIT", "--mpp", "40")
    assert code == 2
    assert "--mpp: 40.0" in err
    code, _, err = wsi_her2("models", "import", checkpoint, "--name", "a")
    assert code == 2
    assert "--licence" in err


@pytest.mark.parametrize("words", [("verify",), ("import", "net_G.pth", "--name", "a", *FACTS)])
def test_without_torch_the_command_says_what_to_install(
    wsi_her2: Run, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    code, _, err = wsi_her2("models", *words)
    assert code == 11
    assert f"not installed (type: {install_line('models')})" in err


def test_list_without_torch(wsi_her2: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert wsi_her2("models", "list")[0] == 0


def test_group_has_help(wsi_her2: Run) -> None:
    code, out, _ = wsi_her2("models", "--help")
    assert code == 0
    for name in ("list", "show", "verify", "import"):
        assert name in out


def test_a_stainer_says_its_marker_and_what_it_saw(wsi_her2: Run, checkpoint: Path, tmp_path: Path) -> None:
    facts = ("--licence", "CC0-1.0", "--mpp", "0.46")
    code, _, err = wsi_her2("models", "import", checkpoint, "--name", "a", *facts)
    assert code == 2
    assert "--marker: is not given, and " in err
    assert "say what it stains: --marker HER2" in err
    assert not (tmp_path / "user" / "a.json").exists()
    said = {"a": (("--marker", "Ki67"), ("Ki67", "unknown")),
            "b": (("--marker", "HER2", "--trained-on", "real tissue"), ("HER2", "real tissue"))}  # fmt: skip
    for name, (words, (marker, origin)) in said.items():
        assert wsi_her2("models", "import", checkpoint, "--name", name, *facts, *words)[0] == 0
        manifest = json.loads((tmp_path / "user" / f"{name}.json").read_text())
        assert (manifest["marker"], manifest["trained_on"]) == (marker, origin)
    code, _, err = wsi_her2("models", "import", checkpoint, "--name", "c", *facts, "--trained-on", "mice")
    assert code == 2
