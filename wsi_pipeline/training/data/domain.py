"""Which phantoms are drawn: tissue, staining and scanner at random, and a mix of cells that means a wanted class."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.training.phantom.fields import rng_for
from wsi_pipeline.training.phantom.options import (
    ArtefactOptions,
    CellClass,
    MembraneLook,
    OpticsOptions,
    PhantomOptions,
    Range,
    Rgb,
    StainOptions,
    TissueOptions,
)
from wsi_pipeline.training.phantom.presets import PALETTES

Mix = dict[CellClass, float]

HEMATOXYLINS: tuple[Rgb, ...] = (
    *(pair[0] for pair in PALETTES.values()), (0.45, 0.84, 0.30), (0.78, 0.55, 0.30), (0.60, 0.62, 0.50)
)  # fmt: skip
DABS: tuple[Rgb, ...] = (
    *(pair[1] for pair in PALETTES.values()), (0.55, 0.52, 0.65), (0.22, 0.45, 0.87), (0.30, 0.68, 0.67)
)  # fmt: skip
"""Two known palettes, and around them three made-up vectors each: more purple, bluer, greyer hematoxylin; olive,
yellower, redder DAB. What a stain vector looks like depends on scanner and chromogen; no list of them is complete."""

EOSINS: tuple[Rgb, ...] = ((0.07, 0.99, 0.11), (0.09, 0.95, 0.28))
"""Ruifrok and Johnston 2001; "H&E" of ImageJ's Colour Deconvolution."""


class DomainOptions(BaseModel):
    """The laboratories, scanners and tumours that phantoms come from; every range is drawn from uniformly.

    A stain vector lies anywhere between two of its anchors, each component then off by at most `vector_shift`, but
    never within `apart_deg` of a vector in `avoid`. The range of `dab_gain`, times the tile's own, stays below 1.4: the
    densest faint membrane of a phantom (0.25 OD) never becomes denser than the palest moderate one (0.35 OD) of any
    other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hematoxylin: tuple[Rgb, ...] = Field(HEMATOXYLINS, description="anchors, (R, G, B)")
    dab: tuple[Rgb, ...] = Field(DABS, description="anchors, (R, G, B)")
    eosin: tuple[Rgb, ...] = Field(EOSINS, description="anchors, (R, G, B)")
    vector_shift: float = Field(0.05, ge=0, le=0.1, description="largest shift of a component")
    avoid: tuple[Rgb, ...] = Field((), description="stain vectors that no phantom may have, (R, G, B)")
    apart_deg: float = Field(4.0, ge=0, le=10, description="least angle to those, degrees")
    stains_apart_deg: float = Field(
        22.0,
        ge=0,
        le=24,
        description="least angle between hematoxylin and DAB, degrees; below it nothing tells them apart",
    )
    dab_gain: Range = Field((0.89, 1.12), description="factor on the OD of every membrane")
    hematoxylin_gain: Range = Field((0.7, 1.5), description="factor on the OD of nuclei")
    background_dab: Range = Field((0.0, 0.03), description="nonspecific DAB over all tissue, OD")
    nuclear_dab: float = Field(0.1, ge=0, le=1, description="share of phantoms with some nuclei stained by DAB")
    white: Range = Field((172.0, 254.0), description="brightest channel of the glass, grey levels")
    tint: Range = Field((0.0, 9.0), description="how far one channel of the glass is below the brightest, grey levels")
    blur_um: Range = Field((0.2, 0.45), description="standard deviation of the optical blur, um")
    shot_noise: Range = Field((0.3, 2.5), description="standard deviation of the noise at white, grey levels")
    tumour_fraction: Range = Field((0.5, 0.8), description="share of the tissue taken by nests")
    nest_um: Range = Field((80.0, 200.0), description="typical distance between nests, um")
    cell_um: Range = Field((10.5, 14.0), description="mean tumour cell diameter, um")
    mpp: Range = Field((0.46, 0.50), description="pixel size, um/px")


HELD_OUT = DomainOptions(
    hematoxylin=((0.49, 0.77, 0.41),),
    dab=((0.46, 0.50, 0.73),),
    eosin=((0.05, 0.84, 0.54),),
    vector_shift=0.02,
    tint=(9.0, 15.0),
)
"""What networks are judged by: stain vectors and glass that no phantom of `TRAINING` has. Hematoxylin and eosin are
"H&E 2" of ImageJ's Colour Deconvolution; the DAB, which absorbs more red than the known palettes, is made up."""

TRAINING = DomainOptions(avoid=HELD_OUT.hematoxylin + HELD_OUT.dab + HELD_OUT.eosin)
"""What networks are trained and tuned on: wide, with a hole about every held-out stain vector (whose own shift turns
it by less than 3 degrees)."""


def draw_phantom(
    label: int, seed: int, domain: DomainOptions, side_px: int, *, one_laboratory: bool = False
) -> PhantomOptions:
    """Return a random IHC phantom, square, whose cells as a whole mean `label` (0 to 3).

    Tissue and scanner depend on `seed` and `domain` alone, so nothing but the membranes tells the label. With
    `one_laboratory` all phantoms are stained and scanned alike: as the defaults of a phantom say.
    """
    base = _drawn(seed, domain, side_px, "ihc")
    if one_laboratory:
        base = base.model_copy(update={"staining": StainOptions(), "optics": OpticsOptions()})
        domain = domain.model_copy(update={"dab_gain": (1.0, 1.0)})
    rng = rng_for(seed, f"mix {label}")
    gain = float(rng_for(seed, "dab gain").uniform(*domain.dab_gain))
    looks = {name: _stronger(look, gain) for name, look in base.looks.items()}
    patchy = bool(rng.random() < 0.4)
    update = {"mix": draw_mix(label, rng), "looks": looks, "arrangement": "patchy" if patchy else "mixed"}
    return base.model_copy(update=update)


def draw_partner(seed: int, domain: DomainOptions, side_px: int) -> PhantomOptions:
    """Return the H&E of the same tissue. It does not know the label: all its cells are of class 0."""
    return _drawn(seed, domain, side_px, "he")


def draw_mix(label: int, rng: np.random.Generator) -> Mix:
    """Return random shares of cell classes, summing to 1, that mean `label` by the rule."""
    if label == 0:
        faint = 0.0 if rng.random() < 0.5 else float(rng.uniform(0.01, 0.08))
        return {"0": 1 - faint, "1": faint}
    if label == 1:
        faint = float(rng.uniform(0.2, 0.95))
        few = float(rng.uniform(0, 0.05)) if rng.random() < 0.3 else 0.0
        return {"0": 1 - faint - few, "1": faint, "2i": few}
    if label == 3:
        strong = float(rng.uniform(0.2, 1.0))
        return _rest({"3": strong}, ("0", "1", "2", "2i"), rng)
    kind = rng.random()
    if kind < 0.6:
        return _rest({"2": float(rng.uniform(0.2, 0.95))}, ("0", "1", "2i"), rng)
    if kind < 0.85:
        return _rest({"2i": float(rng.uniform(0.2, 0.7))}, ("0", "1"), rng)
    return _rest({"3": float(rng.uniform(0.04, 0.07)), "2": float(rng.uniform(0.0, 0.5))}, ("0", "1"), rng)


def _rest(mix: Mix, others: tuple[CellClass, ...], rng: np.random.Generator) -> Mix:
    """Share out among `others` what `mix` leaves."""
    left = 1 - sum(mix.values())
    parts = rng.dirichlet(np.ones(len(others))) * left
    return mix | {name: float(part) for name, part in zip(others, parts, strict=True)}


def _drawn(seed: int, domain: DomainOptions, side_px: int, stain: str) -> PhantomOptions:
    """Return tissue of `seed` as one laboratory stained and scanned it; the tissue is the same for both stains."""
    tissue, lab = rng_for(seed, "tissue options"), rng_for(seed, f"laboratory {stain}")
    mpp = float(tissue.uniform(*domain.mpp))
    shapes = TissueOptions(
        tumour_fraction=float(tissue.uniform(*domain.tumour_fraction)),
        nest_um=float(tissue.uniform(*domain.nest_um)),
        cell_um=float(tissue.uniform(*domain.cell_um)),
        rotation_deg=float(tissue.uniform(0, 360)),
        fat=bool(tissue.random() < 0.5),
        vessels=bool(tissue.random() < 0.5),
        necrosis=bool(tissue.random() < 0.3),
        lymphocytes=bool(tissue.random() < 0.6),
    )
    return PhantomOptions(
        name=f"training_{seed}",
        seed=seed,
        width=side_px,
        height=side_px,
        mpp_x=mpp,
        mpp_y=mpp,
        stain="he" if stain == "he" else "ihc",
        tissue=shapes,
        staining=_staining(domain, lab),
        optics=_optics(domain, lab),
        artefacts=ArtefactOptions(dust=int(lab.integers(0, 12))),
    )


def _staining(domain: DomainOptions, rng: np.random.Generator) -> StainOptions:
    """Draw stain vectors and amounts."""
    nuclei = float(rng.uniform(*domain.hematoxylin_gain))
    stained = float(rng.uniform(0.05, 0.5)) if rng.random() < domain.nuclear_dab else 0.0
    hematoxylin, dab = _vector(domain.hematoxylin, domain, rng), _vector(domain.dab, domain, rng)
    while _angle_deg(hematoxylin, dab) < domain.stains_apart_deg:
        hematoxylin, dab = _vector(domain.hematoxylin, domain, rng), _vector(domain.dab, domain, rng)
    return StainOptions(
        hematoxylin=hematoxylin,
        dab=dab,
        eosin=_vector(domain.eosin, domain, rng),
        nuclear_od=(0.25 * nuclei, 0.5 * nuclei),
        background_dab=float(rng.uniform(*domain.background_dab)),
        nuclear_dab_share=stained,
    )


def _optics(domain: DomainOptions, rng: np.random.Generator) -> OpticsOptions:
    """Draw the scanner."""
    white = np.full(3, rng.uniform(*domain.white))
    white[rng.integers(3)] -= rng.uniform(*domain.tint)
    return OpticsOptions(
        white=(float(white[0]), float(white[1]), float(white[2])),
        blur_um=float(rng.uniform(*domain.blur_um)),
        shot_noise=float(rng.uniform(*domain.shot_noise)),
        illumination=float(rng.uniform(0.002, 0.012)),
    )


def _vector(anchors: tuple[Rgb, ...], domain: DomainOptions, rng: np.random.Generator) -> Rgb:
    """Draw a stain vector between two anchors and a little beside, and far enough from what to avoid."""
    while True:
        first, second = (np.array(anchors[k]) for k in rng.integers(0, len(anchors), 2))
        moved = first + rng.random() * (second - first) + rng.uniform(-1, 1, 3) * domain.vector_shift
        red, green, blue = (max(float(value), 0.01) for value in moved)
        if all(_angle_deg((red, green, blue), other) >= domain.apart_deg for other in domain.avoid):
            return (red, green, blue)


def _angle_deg(first: Rgb, second: Rgb) -> float:
    """Return the angle between two vectors, degrees."""
    cosine = sum(a * b for a, b in zip(first, second, strict=True)) / (math.hypot(*first) * math.hypot(*second))
    return math.degrees(math.acos(min(cosine, 1.0)))


def _stronger(look: MembraneLook, gain: float) -> MembraneLook:
    """Return `look` with its OD multiplied."""
    return look.model_copy(update={"od": (look.od[0] * gain, look.od[1] * gain)})
