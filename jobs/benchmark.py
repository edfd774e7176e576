"""Measure the speed of flow, ingest, loader or training on this machine."""

from pipeline.commands.benchmark import main

if __name__ == "__main__":
    main()
