"""Slide readers: one small interface, one file per backend, one pixel-size policy."""

from wsi_pipeline.slide.decoding import decode_only
from wsi_pipeline.slide.digest import sha256_of
from wsi_pipeline.slide.model import Pixels, SlideInfo
from wsi_pipeline.slide.opening import SlideSpec, open_slide
from wsi_pipeline.slide.rescaled import RescaledSlide
from wsi_pipeline.slide.slide import Slide

__all__ = ["Pixels", "RescaledSlide", "Slide", "SlideInfo", "SlideSpec", "decode_only", "open_slide", "sha256_of"]
