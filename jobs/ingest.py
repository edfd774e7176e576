"""Turn a catalog into Parquet shards with TV-L1 flow."""

from pipeline.commands.ingest import main

if __name__ == "__main__":
    main()
