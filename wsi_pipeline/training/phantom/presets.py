"""Ready phantoms: one per HER2 category, and random ones for benchmarks."""

from __future__ import annotations

from typing import Literal

from wsi_pipeline.training.phantom.fields import rng_for
from wsi_pipeline.training.phantom.options import (
    ArtefactOptions,
    CellClass,
    Island,
    OpticsOptions,
    PhantomOptions,
    Rgb,
    StainOptions,
    TissueOptions,
)

Target = Literal["null", "ultralow", "1+", "2+", "3+", "9% 3+", "12% 3+"]
Mix = dict[CellClass, float]

TARGETS: dict[Target, tuple[Mix, str, str]] = {
    "null": ({"0": 1.0}, "0", "null"),
    "ultralow": ({"0": 0.94, "1": 0.06}, "0", "ultralow"),
    "1+": ({"0": 0.35, "1": 0.65}, "1+", "low"),
    "2+": ({"0": 0.15, "1": 0.25, "2": 0.50, "2i": 0.10}, "2+", "equivocal"),
    "3+": ({"0": 0.05, "1": 0.08, "2": 0.12, "3": 0.75}, "3+", "positive"),
    "9% 3+": ({"0": 0.61, "1": 0.30, "3": 0.09}, "2+", "equivocal"),
    "12% 3+": ({"0": 0.58, "1": 0.30, "3": 0.12}, "3+", "positive"),
}
"""Mix, score and category of each target by the ASCO/CAP 2018 rule; 9 % 3+ is 2+ because 0 < p3 <= 10 %."""

Palette = Literal["reference", "field"]

PALETTES: dict[Palette, tuple[Rgb, Rgb]] = {
    "reference": ((0.65, 0.70, 0.29), (0.27, 0.57, 0.78)),
    "field": ((0.68, 0.57, 0.46), (0.37, 0.51, 0.77)),
}
"""Hematoxylin and DAB vectors: Ruifrok and Johnston 2001, and rough medians of the bluest and brownest pixels of nine
public HER2 fields (white taken as 255), whose hematoxylin is greyer: unmixed with the reference vectors it leaves DAB
of 0.3 times the hematoxylin."""

WHITE_POINTS: tuple[Rgb, Rgb] = ((244.0, 243.0, 240.0), (232.0, 236.0, 229.0))
"""Glass of two scanners, grey levels."""


def _of(name: str, seed: int, target: Target, artefacts: ArtefactOptions | None = None) -> PhantomOptions:
    """Return the preset `name` with the mix of `target`."""
    mix, score, category = TARGETS[target]
    return PhantomOptions(
        name=name,
        seed=seed,
        mix=mix,
        score=score,
        category=category,
        artefacts=artefacts or ArtefactOptions(),
    )


PRESETS: dict[str, PhantomOptions] = {
    "null": _of("phantom_null", 11, "null"),
    "ultralow": _of("phantom_ultralow", 12, "ultralow"),
    "one_plus": _of("phantom_1plus", 13, "1+"),
    "two_plus": _of("phantom_2plus", 14, "2+"),
    "three_plus": _of("phantom_3plus", 15, "3+", ArtefactOptions(dust=40, pen="blue")),
    "heterogeneous": _of("phantom_heterogeneous", 16, "1+").model_copy(
        update={"island": Island(x_um=205.0, y_um=170.0, share=0.25), "score": "3+", "category": "positive"}
    ),
    "he": _of("phantom_he", 15, "3+").model_copy(update={"stain": "he"}),
}
"""`he` is the tissue of `three_plus` in H&E, with other artefacts: a registered pair."""


def random_options(
    seed: int, target: Target, size: tuple[int, int] = (2710, 1907), palette: Palette = "reference"
) -> PhantomOptions:
    """Return a phantom of known `target` that varies with `seed` in tissue, orientation, stain and scanner."""
    hematoxylin, dab = PALETTES[palette]
    rng = rng_for(seed, f"random options {target}")
    mix, score, category = TARGETS[target]
    return PhantomOptions(
        name=f"random_{seed}",
        seed=seed,
        width=size[0],
        height=size[1],
        mix=mix,
        score=score,
        category=category,
        arrangement="patchy" if rng.random() < 0.5 else "mixed",
        tissue=TissueOptions(
            tumour_fraction=float(rng.uniform(0.35, 0.6)),
            nest_um=float(rng.uniform(90, 170)),
            cell_um=float(rng.uniform(11.0, 13.0)),
            rotation_deg=float(rng.uniform(0, 360)),
        ),
        staining=StainOptions(
            hematoxylin=hematoxylin, dab=dab, jitter=0.015, background_dab=float(rng.uniform(0, 0.015))
        ),
        optics=OpticsOptions(white=WHITE_POINTS[seed % 2], blur_um=float(rng.uniform(0.2, 0.28))),
        artefacts=ArtefactOptions(dust=int(rng.integers(0, 30)), pen="green" if rng.random() < 0.2 else "none"),
    )
