"""A comparison in words: a line for each event that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .changes import Change
    from .diff import Diff

__all__ = ["render_diff", "summary"]

#: Changes of one event that a line tells; the rest is counted.
_PARTS = 6


def render_diff(diff: Diff, most: int = 40) -> str:
    """Sizes, first divergence and summary; lines end in a newline.

    Args:
        most: lines of the summary at most; the rest is counted.
    """
    left = sum(count for count, _ in diff.events.values())
    right = sum(count for _, count in diff.events.values())
    lines = [f"events: {left:,} -> {right:,}"]
    if diff.first_divergence is None:
        return lines[0] + "\nno difference\n"
    lines.append(f"first divergence at step {diff.first_divergence.index}:")
    lines.append(f"  left:  {_step(diff.first_divergence.left)}")
    lines.append(f"  right: {_step(diff.first_divergence.right)}")
    changes = summary(diff)
    if not changes:
        lines.append("no changes: only independent steps come in another order")
    lines += changes[:most]
    if len(changes) > most:
        lines.append(f"… and {len(changes) - most} more")
    return "\n".join(lines) + "\n"


def summary(diff: Diff) -> list[str]:
    """What changed, a line for each event: `prepare: 64 -> 512 (+448); after set_uptodate instead of before`.

    Behind each part stands how often and where. Events that changed alike share a line; messages, returns and
    waiting come last, because they follow what other events show.
    """
    by_event: dict[str, list[Change]] = {}
    for change in diff.changes:
        by_event.setdefault(change.event, []).append(change)
    lines: dict[str, list[str]] = {}
    for event in sorted(by_event, key=_follows):
        parts = list(map(_words, by_event[event][:_PARTS]))
        rest = len(by_event[event]) - _PARTS
        if rest > 0:
            parts.append(f"and {rest} more")
        lines.setdefault("; ".join(parts), []).append(event)
    return [f"{', '.join(events)}: {text}" for text, events in lines.items()]


def _follows(event: str) -> bool:
    name = event.partition(" ")[0]
    return name in ("send", "receive", "contended", "lock_request") or name.endswith("_ret")


def _words(change: Change) -> str:
    left, right = str(change.left), str(change.right)
    often = f"{change.count} times; " if change.count > 1 else ""
    if change.kind == "count":
        text = f"{left} -> {right}"
        often = f"{_net(change)}; "
    elif change.kind == "actor":
        text = f"by {right} instead of {left}"
    elif change.kind == "operation":
        text = "in another operation of the same task"
    elif change.kind == "value":
        text = f"{right} instead of {left}"
    else:
        side, _, other = left.partition(" ")
        text = f"{right} instead of {side if right.endswith(' ' + other) else left}"
        if change.kind == "sequence":
            text = f"as an operation {text}"
        elif change.kind == "interleaving":
            text, often = f"{text}, of another task", ""
    return f"{text} ({often}{change.where})".replace("; )", ")").replace(" ()", "")


def _net(change: Change) -> str:
    """`+9`, and what it is made of if some places have more and others fewer."""
    if not isinstance(change.left, int) or not isinstance(change.right, int):
        raise TypeError(f"a count has numbers on both sides: {change}")
    net = change.right - change.left
    more, fewer = (change.count + net) // 2, (change.count - net) // 2
    return f"{net:+d} = +{more} -{fewer}" if more and fewer else f"{net:+d}"


def _step(step: dict[str, Any] | None) -> str:
    if step is None:
        return "(at its end)"
    fields = (f"{name}={_value(value)}" for name, value in step.items() if name not in ("actor", "event"))
    return " ".join((str(step["actor"]), str(step["event"]), *fields))


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
