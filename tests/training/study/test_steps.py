"""Steps are done once, and what they left is believed only while it is as they left it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi_pipeline.errors import OutputError, UsageError
from wsi_pipeline.training.study.steps import Ledger, Outcome

ASKED = {"data": "bci", "options": {"seed": 1, "classifier": {"epochs": 2}}}


def begun(folder: Path) -> Ledger:
    ledger = Ledger(folder, ASKED, resume=False)
    ledger.begin()
    return ledger


def write(folder: Path, text: str) -> Outcome:
    (folder / "x.csv").write_text(text)
    return Outcome([folder / "x.csv"], {"tiles": 3})


def never() -> Outcome:
    raise AssertionError("done already")


def test_a_step_is_done_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert begun(out).do("one", lambda: write(out, "a")) == {"tiles": 3}
    again = Ledger(out, ASKED, resume=True)
    assert again.do("one", never) == {"tiles": 3}
    assert again.record()["one"]["files"].keys() == {"x.csv"}


def test_a_step_that_fails_is_not_done(tmp_path: Path) -> None:
    ledger = begun(tmp_path / "out")
    with pytest.raises(AssertionError):
        ledger.do("one", never)
    assert ledger.do("one", lambda: write(ledger.folder, "b")) == {"tiles": 3}


def test_changed_results_are_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun(out).do("one", lambda: write(out, "a"))
    (out / "x.csv").write_text("forged")
    with pytest.raises(OutputError, match=r"x\.csv: is not as step 'one' left it"):
        Ledger(out, ASKED, resume=True).do("one", never)


def test_other_settings_are_named(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    other = {"data": "bci", "options": {"seed": 1, "classifier": {"epochs": 5}}}
    with pytest.raises(UsageError, match=r"options\.classifier\.epochs = 2, not 5"):
        Ledger(tmp_path / "out", other, resume=True)


def test_a_folder_is_not_taken_over(tmp_path: Path) -> None:
    begun(tmp_path / "out")
    with pytest.raises(UsageError, match="go on with --resume"):
        Ledger(tmp_path / "out", ASKED, resume=False)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("letters", "file"):
        with pytest.raises(UsageError, match="is not empty and holds no study"):
            Ledger(tmp_path / name, ASKED, resume=True)
