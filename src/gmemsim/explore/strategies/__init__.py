"""Strategies beyond those that the engine needs, one file each behind `engine.strategy.Strategy`."""

from .registry import STRATEGIES, make_strategy

__all__ = ["STRATEGIES", "make_strategy"]
