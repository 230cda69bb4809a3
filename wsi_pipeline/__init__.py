"""wsi-her2: HER2 scoring of whole-slide images. Research use only, not for diagnosis."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("wsi-her2")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
