"""Imported by every worker of a local cluster when it starts: our errors tell, once, what damage tifffile sees."""

from __future__ import annotations

import logging

logging.getLogger("tifffile").addHandler(logging.NullHandler())
