"""Measure the pieces on this machine."""

from pipeline.commands.benchmark import main

if __name__ == "__main__":
    main()
