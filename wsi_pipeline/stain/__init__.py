"""Stain physics in NumPy: optical density, unmixing, white balance, stain detection."""
