"""Which bytes identify a slide."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wsi_pipeline.slide import sha256_of


def test_one_file_has_its_own_sum(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    data = bytes(range(256)) * 5000  # more than one block
    path.write_bytes(data)
    assert sha256_of(path) == hashlib.sha256(data).hexdigest()


def test_mirax_counts_every_file_of_its_folder(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.mrxs", tmp_path / "a"
    path.write_bytes(b"index")
    folder.mkdir()
    alone = sha256_of(path)
    (folder / "Slidedat.ini").write_bytes(b"1")
    (folder / "Data0000.dat").write_bytes(b"2")
    (tmp_path / "b").mkdir()
    both = sha256_of(path)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in (("a", b"index"), ("i", b"1"), ("d", b"2"))}
    lines = f"{sums['a']}  a.mrxs\n{sums['d']}  a/Data0000.dat\n{sums['i']}  a/Slidedat.ini\n"
    assert both == hashlib.sha256(lines.encode()).hexdigest()
    (folder / "Data0000.dat").write_bytes(b"3")
    assert len({alone, both, sha256_of(path)}) == 3
