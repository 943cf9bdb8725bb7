"""What somebody who misspelt a name may have meant: the same words everywhere."""

from __future__ import annotations

from collections.abc import Iterable

#: A longer list of names is not read at the end of an error.
_FEW = 24


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names most like `name`, the best first; case does not matter. Empty: none is like it."""
    from difflib import get_close_matches

    # What somebody types in another case, or in part, comes first; a name as long as a page is like nothing.
    lower = {each.lower(): each for each in known}
    wanted = name[:80].lower()
    if not wanted:
        return []
    if wanted in lower:
        return [lower[wanted]]
    close = [lower[each] for each in get_close_matches(wanted, lower, most)]
    parts = [each for low, each in lower.items() if len(wanted) > 2 and wanted in low]
    return list(dict.fromkeys([*close, *parts]))[:most]


def hint(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """`did you mean X or Y?`, else `expected one of …`, or `otherwise` where that would be too long.

    Args:
        otherwise: for instance "see `gmemsim list rules`".
    """
    names = list(known)
    close = nearest(name, names)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if otherwise and len(names) > _FEW:
        return otherwise
    return f"expected one of: {', '.join(names)}"
