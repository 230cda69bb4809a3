"""How regions are scheduled: serial oracle and dask, one task per region."""
