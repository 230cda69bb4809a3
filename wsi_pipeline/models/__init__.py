"""Networks and their weights: IHCNet, PSPStain, light variants, manifests. Importing this package needs no torch."""
