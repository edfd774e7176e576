"""Benchmarks: the speed of this package's parts on this machine, next to that of alternatives."""
