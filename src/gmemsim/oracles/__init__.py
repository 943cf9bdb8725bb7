"""Oracles: the spec's invariants as named checks on the audit events of a run."""

from __future__ import annotations

from .oracles import Oracles, checks_of
from .rules import RULES, Rule
from .violation import Note, Violation

__all__ = ["RULES", "Note", "Oracles", "Rule", "Violation", "checks_of"]
