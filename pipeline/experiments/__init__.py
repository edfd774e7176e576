"""Studies: test the papers' claims at small size on motion shapes, with several seeds for each side of a claim."""
