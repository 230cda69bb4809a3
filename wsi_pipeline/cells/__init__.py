"""Nuclei, membrane profiles and per-cell HER2 classes."""
