"""The study: whether filtered virtual IHC makes a classifier of real IHC better, and what it is worth by itself."""
