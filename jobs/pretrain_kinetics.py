"""Pretrain a network: make shards, train each stream, test exactly, register the model."""

from pipeline.commands.pretrain import main

if __name__ == "__main__":
    main()
