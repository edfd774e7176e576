"""Search temporal depth x stride x resolution on shards that are there."""

from pipeline.commands.sweep import main

if __name__ == "__main__":
    main()
