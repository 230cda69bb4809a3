"""What the product says of real IHC and H&E images; docs/validation.md has the figures behind the floors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import membrane_pixels
import real_fields

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize("name", ["3plus_a", "3plus_b", "3plus_c"])
def test_a_3plus_field_scores_3plus(real_data: Path, name: str) -> None:
    result = real_fields.score(real_data / f"her2/fields/{name}.png", membrane_pixels.FIELD_MPP)
    assert (result.score, result.category) == ("3+", "positive")
    assert result.shares is not None
    assert result.shares["3+"] > 10


@pytest.mark.parametrize("mpp", [0.25, membrane_pixels.FIELD_MPP, 0.45])
@pytest.mark.parametrize("name", ["1plus_20", "1plus_25", "1plus_c", "2plus_1", "2plus_8", "2plus_9"])
def test_no_weaker_field_scores_3plus_at_any_likely_pixel_size(real_data: Path, name: str, mpp: float) -> None:
    result = real_fields.score(real_data / f"her2/fields/{name}.png", mpp)
    assert result.stain == "ihc"
    assert result.score != "3+"
    shares = result.shares or result.measured_shares  # at 0.25 um/px there are too few cells for a score
    assert shares is not None
    assert shares["3+"] <= 5


@pytest.mark.parametrize(
    ("name", "mpp"),
    [("ki67/OS-2-ndpi.ome.tif", None), ("ki67/OS-2-vsi.ome.tif", None)]
    + [(f"nuclei/images/{name}.png", mpp) for name in ("34_3", "6_2") for mpp in (0.25, 0.3)],
)
def test_a_nuclear_marker_is_not_evaluable(real_data: Path, name: str, mpp: float | None) -> None:
    result = real_fields.score(real_data / name, mpp)
    assert (result.stain, result.score, result.category) == ("ihc", "not evaluable", "not evaluable")
    assert result.reason.startswith("the stain is nuclear: ")
    assert [piece.reason for piece in result.pieces] == [result.reason] * len(result.pieces)


def test_no_her2_image_is_called_nuclear(real_data: Path) -> None:
    patterns = (
        ("fields/*.png", 0.36), ("ezeher/*.jpg", 0.25), ("warwick/*.png", 0.5), ("pairs_bci/IHC/*.png", 0.46),
        ("pairs_mist/IHC/*.jpg", 0.46), ("cores/1_154*.jpg", 0.25),
    )  # fmt: skip
    paths = [(path, mpp) for pattern, mpp in patterns for path in sorted((real_data / "her2").glob(pattern))]
    assert len(paths) == 34
    for path, mpp in paths:
        result = real_fields.score(path, mpp)
        assert "nuclear" not in result.reason, path.name
        assert not any("stained nuclei" in warning for warning in result.warnings), path.name


def says_why(reason: str) -> bool:
    """Return whether a reason names the slide's stain, or the virtual one that took its place."""
    return "H&E" in reason or "so its stain is no evidence" in reason


def test_no_he_image_is_evaluable(real_data: Path) -> None:
    paths = [*real_data.glob("her2/pairs_*/HE/*"), real_data / "ki67/OS-1-detail.ome.tif"]
    paths += [real_data / "slides/CMU-1-Small-Region.svs", real_data / "slides/HE_example.tif"]
    assert len(paths) >= 19
    wrong = {}
    for path in paths:
        result = real_fields.score(path, 0.46 if "pairs" in path.parts[-3] else None)
        if (result.stain, result.score) != ("he", "not evaluable") or not says_why(result.reason):
            wrong[path.name] = (result.stain, result.score, result.reason)
    assert not wrong


def test_an_unstained_patch_of_a_3plus_slide_is_not_called_positive(real_data: Path) -> None:
    result = real_fields.score(real_data / "her2/pairs_bci/IHC/00011_test_3+.png", 0.46)
    assert result.score in {"0", "not evaluable"}


def test_strong_membrane_is_found_where_it_was_marked_by_hand(real_data: Path) -> None:
    fields = membrane_pixels.load_fields(real_data)
    assert len(fields) == 9
    candidates = membrane_pixels.ABSOLUTE
    table = membrane_pixels.tabulate(fields, membrane_pixels.absolute, candidates)
    names = [field.name for field in fields]
    held = membrane_pixels.leave_one_out(names, candidates, table, membrane_pixels.pooled_f1)
    pooled = membrane_pixels.total(one.counts for one in held)
    assert pooled.strict()[2] > 0.38
    assert pooled.tolerant()[2] > 0.56
    assert membrane_pixels.correlation(held) > 0.7


def test_nuclei_are_found_where_they_were_marked_by_hand(real_data: Path) -> None:
    images = real_fields.measure_nuclei(real_data, 0.25)
    assert len(images) == 4
    pooled = real_fields.pool(list(images.values()))
    assert pooled.f1() > 0.50
    assert pooled.marked_found[0] / pooled.marked[0] > 0.50
