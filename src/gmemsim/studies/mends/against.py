"""An answer with a mend, held against that of the same question without it; for the command's table and the pages."""

from __future__ import annotations

from typing import Any


def is_complete(row: dict[str, Any]) -> bool:
    """Whether every state was looked at."""
    return bool(row.get("complete", str(row.get("scope", "")).startswith("complete:")))


def new_failures(row: dict[str, Any], base: dict[str, Any] | None) -> dict[str, str]:
    """Rules of failures that are there with the mend and not without: rule, and what the first of them says.

    A finding of the version is known, with the mend or without. It hides no other failure of its rule.

    Args:
        base: None: it was not asked without the mend.
    """
    there = {each["rule"] for each in base["violations"] if not each["known"]} if base else set()
    new: dict[str, str] = {}
    for each in row["violations"]:
        if not each["known"] and each["rule"] not in there:
            new.setdefault(each["rule"], each["summary"])
    return new


def added(row: dict[str, Any], base: dict[str, Any], what: str) -> list[str] | None:
    """Edges or cycles that are there with the mend only; None: the search without it was cut short."""
    return sorted(set(row[what]) - set(base[what])) if is_complete(base) else None


def removed(row: dict[str, Any], base: dict[str, Any], what: str) -> list[str] | None:
    """Those that are there without the mend only; None: the search with it was cut short."""
    return sorted(set(base[what]) - set(row[what])) if is_complete(row) else None
