"""The product, read top to bottom."""
