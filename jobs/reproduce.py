"""Train the tables of the papers on given shard sets, or tables and claims at small size on rendered clips."""

from pipeline.commands.reproduce import main

if __name__ == "__main__":
    main()
