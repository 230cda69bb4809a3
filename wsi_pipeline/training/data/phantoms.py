"""Phantom tiles as a source without end: painted when asked for, every cell known, all four classes alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsi_pipeline.errors import UsageError
from wsi_pipeline.geometry import Box
from wsi_pipeline.models.manifest import HER2_CLASSES
from wsi_pipeline.scoring.rule import RuleOptions, Shares, apply_rule
from wsi_pipeline.training.data.augment import DAB, EOSIN, AugmentOptions, Pixels, changed, turned
from wsi_pipeline.training.data.bank import Bank, Painted
from wsi_pipeline.training.data.domain import HELD_OUT, TRAINING, DomainOptions, draw_partner, draw_phantom
from wsi_pipeline.training.data.records import Sample, Split
from wsi_pipeline.training.phantom import CLASSES, Phantom, make_phantom

SPLIT_SEEDS: dict[Split, int] = {"train": 0, "val": 1, "test": 2}
"""Phantom seeds modulo 3: no phantom is in two splits, whatever the options."""

FIRST_SEED = 3_000_000
"""Below lie the seeds of sample slides, tests and benchmarks; a multiple of 3."""

ATTEMPTS = 16
"""Phantoms tried for one number; a tissue without a tile of the wanted class is rare."""

CANDIDATES = 600
"""Places looked at per phantom, at random."""

BARE, FEW = -1, -2
"""What a place is that has no label: tissue without a tumour cell, or anything else with too few of them."""

LABELS = len(HER2_CLASSES)


class PhantomTileOptions(BaseModel):
    """An endless set of phantom tiles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tiles: int = Field(4096, ge=1, description="samples per epoch")
    tile_px: int = Field(256, ge=32, description="side of a tile, px")
    split: Split = Field("train", description="which seeds; val and test are equal in every epoch")
    seed: int = Field(0, ge=0, lt=2**32, description="root of all chance")
    pairs: bool = Field(False, description="paint the H&E of the same tissue too; doubles the time")
    one_laboratory: bool = Field(
        False, description="stain and scan the IHC of all phantoms alike: a stainer's target; the H&E still varies"
    )
    phantoms: int | None = Field(
        None, ge=4, multiple_of=4, description="phantoms to cut from, in every epoch elsewhere; null: always new ones"
    )
    phantom_px: int = Field(1536, ge=256, description="side of a phantom, px")
    per_phantom: int = Field(48, ge=1, description="tiles cut from one phantom before the next is painted")
    together: Literal[4, 8, 12, 16] = Field(8, description="phantoms that neighbouring tiles alternate between")
    least_cells: int = Field(10, ge=1, description="tumour cells that a tile needs to be given a class")
    bare_share: float = Field(0.0, ge=0, le=0.5, description="share of tiles of tissue without any tumour cell")
    bare_label: Literal[-1, 0] = Field(-1, description="label of those: unknown, or 0 for no staining")
    domain: DomainOptions | None = Field(None, description="null: the held-out domain for test, else that of training")
    augment: AugmentOptions | None = Field(
        AugmentOptions(dab_gain=(0.95, 1.05)), description="changes to each tile; null: as painted"
    )
    rule: RuleOptions = Field(RuleOptions(), description="how the shares of a tile's cells become its label")


class PhantomSource:
    """Implements `Source`: sample `i` has class `i % 4`, but for bare tiles. One thread per source.

    Painting a phantom takes about a second. Either ask neighbours together (`reading_order`, `block`): they share
    phantoms, which are kept in memory for a while. Or give a folder and a number of `phantoms`: then each is painted
    once, by whichever process needs it first, and any order is quick.
    """

    def __init__(self, options: PhantomTileOptions, folder: Path | None = None) -> None:
        """Nothing is painted before it is asked for. Raises UsageError where no tile fits into a phantom."""
        if options.tile_px > options.phantom_px // 2:
            raise UsageError("tile_px", f"{options.tile_px} px need phantoms of twice that side", "raise phantom_px")
        self.options = options
        self.domain = options.domain or (HELD_OUT if options.split == "test" else TRAINING)
        self._bank = Bank(self._paint, options.together, folder / self._digest() if folder else None)

    def __len__(self) -> int:
        """Return how many samples an epoch has."""
        return self.options.tiles

    @property
    def block(self) -> int:
        """Neighbouring indices that share phantoms (see `reading_order`)."""
        return self.options.together * self.options.per_phantom

    def labels(self) -> NDArray[np.int64]:
        """Label of every index, -1 where unknown: int64 (len(self),); the same in every epoch."""
        kinds = [self._kind(index) for index in range(len(self))]
        return np.array([self.options.bare_label if kind == BARE else kind for kind in kinds], dtype=np.int64)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return one tile. Raises UsageError where the options leave no tile of a class."""
        options = self.options
        if not 0 <= index < options.tiles:
            raise IndexError(index)
        epoch = epoch if options.split == "train" else 0
        phantom, kind = self._bank[self._number(index, epoch)], self._kind(index)
        rng = np.random.default_rng([options.seed, SPLIT_SEEDS[options.split], epoch, index])
        places = phantom.places[phantom.places[:, 2] == kind]
        x, y, _ = (int(value) for value in places[rng.integers(len(places))])
        tiles = phantom.pixels[:, y : y + options.tile_px, x : x + options.tile_px]
        rgb, he = self._changed(tiles, rng)
        group = f"phantom_{options.split}_{phantom.seed}"
        return Sample(rgb, options.bare_label if kind == BARE else kind, he, group)

    def _number(self, index: int, epoch: int) -> int:
        """Return which phantom sample `index` is cut from; its remainder modulo 4 is the class that it is made for."""
        together, blocks = self.options.together, -(-self.options.tiles // self.block)
        number = index // self.block * together + index % together
        if self.options.phantoms is not None:
            return number % self.options.phantoms
        return epoch * blocks * together + number

    def _kind(self, index: int) -> int:
        """Return what the tile of `index` must be: a label, or BARE."""
        if self.options.bare_share > 0:
            bare = np.random.default_rng([self.options.seed, index]).random() < self.options.bare_share
            return BARE if bare else index % LABELS
        return index % LABELS

    def _changed(self, tiles: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels | None]:
        """Return the tile and its H&E, turned and changed, or copies as they are."""
        augment = self.options.augment
        turn = int(rng.integers(8)) if augment and augment.turn else 0
        rgb, he = turned(np.array(tiles[0]), turn), turned(np.array(tiles[1]), turn) if len(tiles) > 1 else None
        if augment and augment.ihc:
            rgb = changed(rgb, DAB, augment.dab_gain, rng, augment)
        if augment and augment.he and he is not None:
            he = changed(he, EOSIN, augment.eosin_gain, rng, augment)
        return rgb, he

    def _paint(self, number: int) -> Painted:
        """Paint the first phantom of `number` that has every kind of tile asked of it."""
        options, label = self.options, number % LABELS
        wanted = {label, BARE} if options.bare_share > 0 else {label}
        whole = Box(0, 0, options.phantom_px, options.phantom_px)
        for attempt in range(ATTEMPTS):
            seed = phantom_seed(options.split, options.seed, number, attempt)
            phantom = make_phantom(
                draw_phantom(label, seed, self.domain, options.phantom_px, one_laboratory=options.one_laboratory)
            )
            places = self._places(phantom, np.random.default_rng([seed, number]))
            if wanted <= set(places[:, 2].tolist()):
                layers = [phantom.render_block(whole, "ihc")]
                if options.pairs:
                    partner = make_phantom(draw_partner(seed, self.domain, options.phantom_px))
                    layers.append(partner.render_block(whole, "he"))
                return Painted(np.stack(layers), places[np.isin(places[:, 2], list(wanted))], seed)
        raise UsageError(
            "phantom tiles",
            f"no tile of {options.tile_px} px with {options.least_cells} tumour cells and class {HER2_CLASSES[label]} "
            f"in {ATTEMPTS} phantoms",
            "lower least_cells or raise phantom_px",
        )

    def _places(self, phantom: Phantom, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return random places for tiles and what each is, (n, 3)."""
        options = self.options
        places = rng.integers(0, options.phantom_px - options.tile_px + 1, (CANDIDATES, 2))
        counts = tile_counts(phantom, places, options.tile_px)
        kinds = tile_labels(counts, options.least_cells, options.rule)
        middle = (places + options.tile_px / 2) * phantom.options.mpp_x
        tissue = phantom.layout.sample(phantom.layout.tissue, middle[:, 0], middle[:, 1]) > 0
        kinds[tissue & (counts.sum(axis=1) == 0)] = BARE
        return np.column_stack([places, kinds])

    def _digest(self) -> str:
        """Return a name for everything that decides what a phantom of some number is."""
        free = {"tiles", "phantoms", "per_phantom", "together", "augment", "bare_label"}
        facts = self.options.model_dump_json(exclude=free) + self.domain.model_dump_json()
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def phantom_seed(split: Split, seed: int, number: int, attempt: int) -> int:
    """Return the seed of a phantom: one of its split's own residue class modulo 3, different for all arguments."""
    return FIRST_SEED + 3 * ((number * ATTEMPTS + attempt) * 2**32 + seed) + SPLIT_SEEDS[split]


def tile_counts(phantom: Phantom, places: NDArray[np.int64], tile_px: int) -> NDArray[np.int64]:
    """Return how many tumour cells of each class (n, 5) have their nucleus centre in the tiles at `places` (n, 2)."""
    x = phantom.cells.xy_um[:, 0] / phantom.options.mpp_x
    y = phantom.cells.xy_um[:, 1] / phantom.options.mpp_y
    left, top = places[:, :1], places[:, 1:]
    inside = (x >= left) & (x < left + tile_px) & (y >= top) & (y < top + tile_px)
    kinds = phantom.cells.classes[:, None] == np.arange(len(CLASSES))
    return np.asarray(inside.astype(np.float32) @ kinds.astype(np.float32)).astype(np.int64)


def tile_labels(counts: NDArray[np.int64], least_cells: int, rule: RuleOptions) -> NDArray[np.int64]:
    """Return the class (n,) that the rule gives to each row of `counts` (n, 5), FEW below `least_cells` cells."""
    labels = np.full(len(counts), FEW, dtype=np.int64)
    for row, cells in enumerate(counts):
        if cells.sum() >= least_cells:
            percent = dict(zip(CLASSES, 100.0 * cells / cells.sum(), strict=True))
            shares = Shares(percent["0"], percent["1"], percent["2i"], percent["2"], percent["3"])
            labels[row] = HER2_CLASSES.index(apply_rule(shares, rule).score)
    return labels
