"""Training of tile classifiers: HER2 class of an IHC tile."""
