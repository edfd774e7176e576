"""Test a trained network under any published protocol, or fuse stored scores."""

from pipeline.commands.evaluate import main

if __name__ == "__main__":
    main()
