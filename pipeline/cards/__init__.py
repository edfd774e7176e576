"""Data cards: what a shard set holds, on one page that needs nothing but itself."""

from pipeline.cards.data_card import data_card

__all__ = ["data_card"]
