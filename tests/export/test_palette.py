"""Names that QuPath's H-score recognises, and class maps in our colours."""

import numpy as np
import pytest

from wsi_pipeline.errors import OutputError
from wsi_pipeline.export.palette import (
    CLASS_KEYS,
    NO_CLASS,
    ObjectKind,
    class_style,
    colour_classes,
    qupath_class,
    qupath_classes,
)


@pytest.mark.parametrize(
    ("key", "last"), [("0", "Negative"), ("1", "1+"), ("2i", "2+"), ("2", "2+"), ("3", "3+")]
)  # fmt: skip
def test_qupath_class_ends_in_a_grade_below_tumor(key: str, last: str) -> None:
    assert qupath_class(key).split(": ") == ["Tumor", last]


@pytest.mark.parametrize("kind", ["cell", "tile", "network tile"])
def test_qupath_counts_nothing_but_the_cells_of_a_score(kind: ObjectKind) -> None:
    counted = {"Negative", "Positive", "1+", "2+", "3+"}
    for scored in (True, False):
        if (kind, scored) != ("cell", True):
            assert not {qupath_class(key, kind, scored=scored).split(": ")[-1] for key in CLASS_KEYS} & counted


def test_each_qupath_class_has_one_colour() -> None:
    names = [name for name, _ in qupath_classes()]
    assert len(names) == len(set(names)) == 3 * 4 + 2
    assert all(class_style(key).qupath_rgb == dict(qupath_classes())[qupath_class(key)] for key in CLASS_KEYS)


def test_colours_of_a_class_map() -> None:
    class_map = np.array([[CLASS_KEYS.index("3"), NO_CLASS, CLASS_KEYS.index("2i")]], np.uint8)
    assert colour_classes(class_map).tolist() == [[[189, 0, 38], [255, 255, 255], [188, 128, 189]]]


def test_colours_differ_and_none_is_background() -> None:
    colours = {class_style(key).rgb for key in CLASS_KEYS}
    assert len(colours) == len(CLASS_KEYS)
    assert (255, 255, 255) not in colours


def test_unknown_classes_are_refused() -> None:
    with pytest.raises(OutputError, match="holds 77, which is no class"):
        colour_classes(np.array([[0, 77]], np.uint8))
    with pytest.raises(OutputError, match="class '2\\+': has no colour"):
        class_style("2+")
