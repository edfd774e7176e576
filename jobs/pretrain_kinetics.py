"""Pretrain a network: clips to shards, both streams, exact test, registered model."""

from pipeline.commands.pretrain import main

if __name__ == "__main__":
    main()
