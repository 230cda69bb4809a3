"""Phantoms of HER2-stained breast tumour tissue: synthetic slides whose every cell class is known.

The tissue (cells, nuclei, stroma, fat, vessels, necrosis) is laid out in micrometres and independently of any stain, so
that the same tissue can be rendered as HER2 IHC or as H&E, at any pixel size, block by block.
"""

from __future__ import annotations

from wsi_pipeline.training.phantom.options import CLASSES, Island, PhantomOptions
from wsi_pipeline.training.phantom.phantom import Phantom, make_phantom
from wsi_pipeline.training.phantom.presets import PRESETS, TARGETS, random_options
from wsi_pipeline.training.phantom.slide import write_slide

__all__ = [
    "CLASSES",
    "PRESETS",
    "TARGETS",
    "Island",
    "Phantom",
    "PhantomOptions",
    "make_phantom",
    "random_options",
    "write_slide",
]
