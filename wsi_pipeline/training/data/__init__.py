"""Training data: patches of known layouts, their splits, and phantom tiles without end."""
