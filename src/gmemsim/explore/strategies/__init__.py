"""Strategies beyond those that the engine needs, one file each behind `engine.strategy.Strategy`."""
