"""Judges of whole runs: deadlock, livelock, races, bounded waiting, linearizability.

Rules about single events are in `gmemsim.oracles`.
"""
