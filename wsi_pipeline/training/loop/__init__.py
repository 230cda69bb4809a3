"""What every training shares: seeded batches, averaged weights, checkpoints with exact resume, curves."""
