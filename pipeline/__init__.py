"""Training video action-recognition networks at scale: clips, TV-L1 flow, networks, runs."""
