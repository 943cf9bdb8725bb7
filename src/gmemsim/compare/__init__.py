"""Comparing runs: what is equal, what differs, and what matters of it. See `docs/compare.md`."""
