"""Search temporal depth x stride x resolution on an existing shard set."""

from pipeline.commands.sweep import main

if __name__ == "__main__":
    main()
