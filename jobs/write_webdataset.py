"""Write a shard set as WebDataset archives, for other trainers."""

from pipeline.commands.webdataset import main

if __name__ == "__main__":
    main()
