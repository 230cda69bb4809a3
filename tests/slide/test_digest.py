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


def test_a_folder_counts_all_its_files_by_name_but_not_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "b.ome.zarr"
    contents = {
        ".zattrs": b"{}",
        "0/.zarray": b"[]",
        "0/0/1/10": b"pixels",
        "0/0/1/2": b"more",
        "OME/METADATA.ome.xml": b"",
    }
    for name, data in reversed(contents.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    lines = "".join(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in sorted(contents))
    whole = sha256_of(folder)
    assert whole == hashlib.sha256(lines.encode()).hexdigest()
    assert sha256_of(f"{folder}/") == whole
    assert sha256_of(folder.rename(tmp_path / "c.zarr")) == whole
    (tmp_path / "c.zarr/0/0/1/2").rename(tmp_path / "c.zarr/0/0/1/3")
    assert sha256_of(tmp_path / "c.zarr") != whole
