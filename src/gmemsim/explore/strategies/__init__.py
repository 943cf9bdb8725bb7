"""Strategies beyond those that the engine needs, one file each behind `engine.strategy.Strategy`."""

from .registry import AUTO, STRATEGIES, make_strategy

__all__ = ["AUTO", "STRATEGIES", "make_strategy"]
