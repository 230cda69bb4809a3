"""How names that are no text are written."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from wsi_pipeline.errors import CorruptSlideError, printable


@pytest.mark.parametrize(
    ("raw", "written"),
    [
        (b"a\xffb.svs", r"a\xffb.svs"),
        (b"M\xfcller 1.svs", r"M\xfcller 1.svs"),
        ("Müller 病理 😀.svs".encode(), "Müller 病理 😀.svs"),
        (b"a\nb\tc\x1b[31m.svs", r"a\x0ab\x09c\x1b[31m.svs"),
        (b"""$x @y "z" 'q' -r.svs""", """$x @y "z" 'q' -r.svs"""),
        ("\u0634\u0631\u064a\u062d\u0629.svs".encode(), "\u0634\u0631\u064a\u062d\u0629.svs"),
    ],
)
def test_a_name_is_written_as_text_in_one_line(raw: bytes, written: str) -> None:
    assert printable(Path(os.fsdecode(raw))) == written
    written.encode()


def test_half_a_letter_is_written_as_its_code() -> None:
    assert printable("a\ud83d") == r"a\ud83d"


def test_an_error_can_be_written_whatever_it_names() -> None:
    error = CorruptSlideError(Path(os.fsdecode(b"a\xff.svs")), "broken at \udce4", "see \udcff")
    assert str(error) == r"a\xff.svs: broken at \xe4 (see \xff)"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes
