"""Bringing videos here that are not here yet: archives, http(s), object stores, YouTube."""
