"""What a command prints, where nobody reads it, nothing more fits, or the terminal knows ASCII only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "wsi_pipeline.cli.main"]
ROOT = Path(__file__).resolve().parents[2]
NAME = os.fsdecode(b"M\xfcller \xc2\xb5 \n 1.svs")


def sh(script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script in which `"$@"` is the command line with `words`."""
    known = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(["bash", "-c", script, "-", *COMMAND, *words], capture_output=True, env=known, check=False)


@pytest.fixture
def slide(tmp_path: Path) -> str:
    """Return a sample slide under a name that is no text and has two lines."""
    link = tmp_path / NAME
    link.symlink_to(ROOT / "sample_slides" / "phantom_1plus.svs")
    return str(link)


def test_a_reader_that_goes_away_is_no_error(slide: str) -> None:
    done = sh('"$@" | head -c 0; exit ${PIPESTATUS[0]}', "info", slide)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sh('"$@" 2>&1 | head -c 0; exit ${PIPESTATUS[0]}', "info", "no.svs").returncode == 2


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed: str, slide: str) -> None:
    assert sh(f'"$@" {closed}', "info", slide).returncode == 0
    assert sh(f'"$@" {closed}', "info", "no.svs").returncode == 2


def test_what_cannot_be_printed_is_an_error_at_the_end(slide: str) -> None:
    done = sh('"$@" > /dev/full', "info", slide)
    assert done.returncode == 8
    assert done.stderr == b"wsi-her2: stdout: cannot be written: No space left on device\n"
    assert sh('"$@" 2> /dev/full', "info", slide).returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", ""])
def test_every_encoding_shows_the_name_in_one_line(encoding: str, slide: str) -> None:
    done = sh('"$@"', "info", slide, LC_ALL="C", **({"PYTHONIOENCODING": encoding} if encoding else {}))
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()[0].decode(encoding or "utf-8")
    micro = r"\xb5" if encoding == "ascii" else "µ"
    assert shown.endswith(rf"M\xfcller {micro} \x0a 1.svs")
    refused = sh('"$@"', "info", slide + "µ", PYTHONIOENCODING=encoding or "utf-8")
    assert refused.stderr.startswith(b"wsi-her2: ")
    assert refused.stderr.count(b"\n") == 1


def test_json_is_json(slide: str) -> None:
    done = sh('"$@"', "info", slide, "--json")
    assert json.loads(done.stdout)["file"].endswith(r"/M\xfcller µ \x0a 1.svs")
