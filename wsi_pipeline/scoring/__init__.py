"""Categories, the ASCO/CAP rule and the slide-level record."""
