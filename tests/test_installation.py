"""Install lines: those in texts work in a clone, those in messages name where the running copy came from."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from wsi_pipeline import installation
from wsi_pipeline.installation import install_line

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
FOLDERS = ("docs", "wsi_pipeline", "configs", "weights", "sample_slides", "tests")
TEXTS = [*ROOT.glob("*.md"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*"))]
ENDINGS = {".py", ".md", ".sh", ".yaml", ".toml"}
BARE_NAME = re.compile(r"""wsi-her2\[|pip install (?:-\S+ )*["']?wsi-her2\b""")
"""The package's name as pip would look for it on a registry."""

METADATA = """\
Metadata-Version: 2.4
Name: wsi-her2
Version: 0.1.0
Requires-Dist: numpy>=2.0
Requires-Dist: safetensors>=0.4.5; extra == 'models'
Requires-Dist: torch>=2.11; extra == 'models'
Requires-Dist: captum>=0.9; extra == "explain"
"""


def test_no_text_has_pip_look_for_the_name_on_a_registry() -> None:
    paths = [path for path in TEXTS if path.suffix in ENDINGS and path != Path(__file__)]
    assert len(paths) > 500
    found = [str(path) for path in paths if BARE_NAME.search(path.read_text(encoding="utf-8"))]
    assert found == [], "the package is on no registry: name the clone"


def test_extras_in_texts_exist() -> None:
    lines = [
        line for path in TEXTS if path.suffix == ".md"
        for line in re.findall(r"pip install ([^\n`&]*)", path.read_text(encoding="utf-8"))
    ]  # fmt: skip
    places = [word for line in lines for word in shlex.split(line, comments=True) if word.startswith(".")]
    assert len(places) >= 10
    for word in places:
        extras = re.fullmatch(r"\.(?:\[(\w+(?:,\w+)*)\])?", word)
        assert extras is not None, word
        assert set(filter(None, (extras[1] or "").split(","))) <= EXTRAS.keys()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Return what makes a copy that was installed from the place that its direct_url.json gives."""
    folder = tmp_path / "site" / "wsi_her2-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(METADATA, encoding="utf-8")

    def install(direct_url: Any) -> None:
        if direct_url is not None:
            text = direct_url if isinstance(direct_url, str) else json.dumps(direct_url)
            (folder / "direct_url.json").write_text(text, encoding="utf-8")
        found = installation.Distribution.at(folder)
        monkeypatch.setattr(installation, "distribution", lambda _name: found)

    return install


@pytest.mark.parametrize(
    ("name", "editable", "word"),
    [
        ("clone", True, '"{}/clone[models]"'),
        ("clone", False, '"{}/clone[models]"'),
        ("my clone µ", False, '"{}/my clone µ[models]"'),
        ("a$b", True, "'{}/a$b[models]'"),
    ],
)
def test_a_clone_is_named_as_it_was_installed(
    installed: Callable[[Any], None], tmp_path: Path, name: str, editable: bool, word: str
) -> None:
    clone = tmp_path / name
    clone.mkdir()
    (clone / "pyproject.toml").touch()
    installed({"url": clone.as_uri(), "dir_info": {"editable": editable} if editable else {}})
    assert install_line("models") == f"pip install {'-e ' if editable else ''}{word.format(tmp_path)}"
    assert shlex.split(install_line("models"))[-1] == f"{clone}[models]"


def test_a_wheel_is_named_while_it_lies_there(installed: Callable[[Any], None], tmp_path: Path) -> None:
    wheel = tmp_path / "wsi_her2-0.1.0-py3-none-any.whl"
    wheel.touch()
    installed({"url": wheel.as_uri(), "archive_info": {}})
    assert install_line("models") == f'pip install "{wheel}[models]"'
    wheel.unlink()
    assert install_line("models") == 'pip install "safetensors>=0.4.5" "torch>=2.11"'


@pytest.mark.parametrize(
    ("direct_url", "requirement"),
    [
        ({"url": "https://h.org/w-1.whl", "archive_info": {}}, "wsi-her2[explain] @ https://h.org/w-1.whl"),
        ({"url": "https://me:secret@h.org/w.whl", "archive_info": {}}, "wsi-her2[explain] @ https://h.org/w.whl"),
        (
            {"url": "ssh://git@h.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "4f"}, "subdirectory": "code"},
            "wsi-her2[explain] @ git+ssh://git@h.org/a.git@4f#subdirectory=code",
        ),
    ],
)  # fmt: skip
def test_a_url_is_named(installed: Callable[[Any], None], direct_url: Any, requirement: str) -> None:
    installed(direct_url)
    command, install, word = shlex.split(install_line("explain"))
    assert (command, install, word) == ("pip", "install", requirement)
    assert Requirement(word).extras == {"explain"}


@pytest.mark.parametrize(
    "direct_url", [None, "", "{", "[]", {}, {"url": 3}, {"url": "file:///gone", "dir_info": {"editable": True}}]
)
def test_where_the_origin_is_unknown_or_gone_the_packages_are_named(
    installed: Callable[[Any], None], direct_url: Any
) -> None:
    installed(direct_url)
    assert install_line("explain") == 'pip install "captum>=0.9"'


def test_a_copy_that_was_never_installed_names_its_own_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> Any:
        raise installation.PackageNotFoundError(name)

    monkeypatch.setattr(installation, "distribution", nowhere)
    assert install_line("train") == f'pip install "{ROOT}[train]"'


@pytest.mark.slow
def test_pip_takes_every_line(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    pip = [tmp_path / "env/bin/python", "-m", "pip", "install", "--no-deps", "--dry-run", "-q"]
    done = subprocess.run(
        [*pip, f".[{','.join(EXTRAS)}]"], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    if "No matching distribution" in done.stderr:
        pytest.skip("pip reaches no registry for the build's own needs")
    assert done.returncode == 0, done.stderr
