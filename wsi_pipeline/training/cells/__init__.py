"""Training of the network that sees cells, from drawn tissue, recoloured nuclei and real tissue."""
