"""Data cards: the contents of a shard set on one self-contained HTML page."""

from pipeline.cards.data_card import data_card

__all__ = ["data_card"]
