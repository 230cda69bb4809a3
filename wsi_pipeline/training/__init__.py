"""Phantom slides with a known answer, and later training."""
