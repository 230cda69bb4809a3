"""Names that QuPath's H-score recognises, and class maps in our colours."""

from typing import Any

import cv2
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


MACHADO = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
    ),
}
"""Linear RGB as seen without one kind of cone (Machado, Oliveira, Fernandes 2009, severity 1)."""

NUCLEI = ((93, 84, 158), (150, 150, 195))
"""Haematoxylin of dark and of pale nuclei."""


@pytest.mark.parametrize("sight", MACHADO)
def test_class_0_is_told_from_nuclei_and_from_the_other_classes(sight: str) -> None:
    def seen(rgb: tuple[int, ...]) -> np.ndarray[Any, Any]:
        linear = (((np.array(rgb) / 255) + 0.055) / 1.055) ** 2.4
        back = 1.055 * np.clip(MACHADO[sight] @ linear, 0, 1) ** (1 / 2.4) - 0.055
        return cv2.cvtColor(back.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0]

    def over(key: str, nucleus: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return seen(tuple(0.65 * np.array(class_style(key).rgb) + 0.35 * np.array(nucleus)))

    for nucleus in NUCLEI:
        others = [seen(tissue) for tissue in NUCLEI] + [over(key, nucleus) for key in ("1", "2i", "2", "3")]
        assert min(float(np.linalg.norm(over("0", nucleus) - other)) for other in others) > 15
