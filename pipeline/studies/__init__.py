"""Studies: what the papers claim, tried at small size on motion shapes, each side of each claim with several seeds."""
