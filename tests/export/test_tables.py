"""Parquet with units, JSON without NaN."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.tables import write_json, write_parquet


def test_parquet_keeps_values_metadata_and_units(tmp_path: Path) -> None:
    table = pa.table({"x_l0": [512, 7], "dab_od": pa.array([0.25, None], pa.float32()), "class": ["3", "0"]})
    path = tmp_path / "tiles.parquet"
    write_parquet(path, table, {"slide_sha256": "ab", "pixel_size": "µm"}, {"x_l0": "px, level 0", "dab_od": "1"})
    schema = pq.read_schema(path)
    assert pq.read_table(path).to_pydict() == table.to_pydict()
    assert schema.metadata[b"slide_sha256"] == b"ab"
    assert schema.metadata[b"pixel_size"].decode() == "µm"
    assert schema.field("x_l0").metadata[b"unit"] == b"px, level 0"
    assert schema.field("class").metadata is None or b"unit" not in schema.field("class").metadata
    assert schema.field("dab_od").type == pa.float32()
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiles.parquet"]


def test_parquet_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "t.parquet", pa.table({"x_l0": pa.array([], pa.int64())}), {})
    assert pq.read_table(tmp_path / "t.parquet").column_names == ["x_l0"]


def test_units_of_unknown_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="columns that it does not have: y_l0"):
        write_parquet(tmp_path / "t.parquet", pa.table({"x_l0": [1]}), {}, {"y_l0": "px"})


def test_json_keeps_order_and_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"z": 1, "a": {"µ": [1.5, None, "é"]}})
    text = (tmp_path / "result.json").read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["z", "a"]
    assert "é" in text
    assert text.endswith("\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_json_refuses_what_is_not_json(tmp_path: Path, value: object) -> None:
    with pytest.raises(OutputError, match="cannot be JSON"):
        write_json(tmp_path / "result.json", {"a": [value]})
    assert not list(tmp_path.iterdir())
