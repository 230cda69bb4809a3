"""Training of the generator that turns H&E into HER2 IHC, with the objective of PSPStain (Chen et al., MICCAI 2024)."""
