"""Verify a shard set and write its data card."""

from pipeline.commands.inspect import main

if __name__ == "__main__":
    main()
