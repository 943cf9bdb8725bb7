"""What a search covered, said with its bounds: the same words in every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .search import SearchResult

_WHY = {
    "violation": "stopped at the first violation",
    "schedules": "stopped at --max-schedules",
    "states": "stopped at --max-states",
    "seconds": "stopped at --max-seconds",
    "interrupted": "interrupted",
    "exhausted": "some runs met the step limit",
    "worker": "a worker process was killed",
}


def nothing_ran(done: SearchResult) -> bool:
    """Nothing was found because no run came to its end."""
    return not (done.found or done.schedules or done.complete)


def scope(done: SearchResult) -> str:
    """One line: complete, with how many states or schedules; or how far it came, and why no further."""
    from ..oracles.exact import in_short

    found = sorted({each.failure.rule for each in done.found})
    clean = in_short(rule for rule in done.rules if rule not in found)
    nothing = f"no {'further ' if found else ''}violation of the rules {clean}"
    if done.left_out:
        nothing += f"; left out, as {done.strategy} does not preserve them: {in_short(done.left_out)}"
    if done.without:
        nothing += f"; not looked after, as --without asks: {in_short(done.without)}"
    if done.complete:
        bound = f" within its bound ({done.bound})" if done.bound else ""
        if done.states:
            return f"complete{bound}: {done.states:,} states{_once(done.exchanged)}, {nothing}"
        within = " within that" if done.bound else ""
        every = f"every schedule of this scenario at this size{within}, or one equivalent to it, was run"
        return f"complete{bound}: {done.schedules:,} schedules ({every}), {nothing}"
    why = _WHY[done.stopped]
    if done.without:
        why += f" (not looked after, as --without asks: {in_short(done.without)})"
    if done.sampled:
        return f"not complete: {why}; {done.states:,} states, then {done.sampled:,} schedules sampled"
    return f"not complete: {why}; {done.states:,} states" if done.states else f"not complete: {why}"


def _once(exchanged: tuple[tuple[str, ...], ...]) -> str:
    groups = "; ".join(f"{', '.join(group[:-1])} and {group[-1]}" for group in exchanged)
    return f" (those that differ only in which of {groups} is where count once)" if groups else ""


def scope_document(done: SearchResult) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "complete": done.complete,
        "bound": done.bound or None,
        "stopped": done.stopped,
        "states": done.states or None,
        "schedules": done.schedules,
        "sampled": done.sampled or None,
        "rules": list(done.rules),
        "left_out": list(done.left_out),
        "without": list(done.without),
        "exchanged": [list(group) for group in done.exchanged],
        "broken_choices": list(done.past),
    }
