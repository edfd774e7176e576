"""Search any fields of a config on existing shard sets, with seeds or folds; the same command continues a sweep."""

from pipeline.commands.sweep import main

if __name__ == "__main__":
    main()
