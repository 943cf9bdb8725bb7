"""What `gmemsim diff` shows to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .output import LIMITS, console, say, table

if TYPE_CHECKING:
    from ..compare.diff import Diff
    from ..compare.rows import Row


def show(document: dict[str, Any], found: Diff, most: int) -> None:
    """Context, verdict, ranked rows, first divergence, events and locks."""
    out = console()
    sides = str(document["left"]), str(document["right"])
    for line in context(document):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.exchanged:
        out.print("Exchanged: " + ", ".join(f"{new} for {old}" for new, old in found.exchanged.items()))
    if found.equal:
        out.print(verdict(document, found))
        return
    if found.changes:
        _rows(found, sides, most)
    if found.noise:
        out.print(f"{found.noise} more differ as much between two halves of one side: noise.")
    at = found.first_divergence
    if at is not None:
        out.print(
            f"First divergence at step {at.index}{', first seed' if 'scenario' in document else ''}:",
            markup=False,
        )
        for side, step in zip(sides, (at.left, at.right), strict=True):
            say(f"  {side}: {_step(step)}")
    _events(found, sides)
    if document["locks"]["left"]:
        _locks(document["locks"])
        out.print(LIMITS, style="dim")


def context(document: dict[str, Any]) -> list[str]:
    """What is compared, and what differs in the headers."""
    lines: list[str] = []
    if "scenario" in document:
        release = document["release"]
        if isinstance(release, dict):
            release = f"{release['left']} and {release['right']}, so the kernel around the patch differs too"
        lines.append(f"{document['scenario']}, {document['arch']}, release {release}")
        if "seeds" in document:
            lines.append("seeds {}-{} of each side".format(*document["seeds"]))
        for name, side in document.get("classes", {}).items():
            scope = "complete" if side["complete"] else f"not complete ({side['stopped']})"
            lines.append(f"{document[name]}: {side['runs']} classes of schedules, {scope}")
    for key, values in document["header"].items():
        lines.append(f"header, {key}: {values['left']} and {values['right']}")
    return lines + list(document["notes"])


def verdict(document: dict[str, Any], found: Diff) -> str:
    """The answer in a sentence."""
    if not found.equal:
        certain = sum(row.certain for row in found.changes)
        return f"{len(found.changes)} differences, {certain} of them in every run."
    far = ", as far as both go" if document.get("broken_off") else ""
    if found.first_divergence is None and found.runs == 1:
        return f"The same, step by step{far}."
    if "scenario" in document:
        text = f"No behaviour of {found.runs} runs a side differs"
        return text + (f", {found.noise} apart that differ between seeds as well." if found.noise else ".")
    return f"Only the order of independent steps differs{far}."


def _rows(found: Diff, sides: tuple[str, str], most: int) -> None:
    out = console()
    rows = (
        (str(number), row.operation, _what(row), row.left, row.right, _where(row))
        for number, row in enumerate(found.changes[:most], 1)
    )
    out.print(table("differences, the most telling first", ("", "in", "what", *sides, "where"), rows))
    if len(found.changes) > most:
        out.print(f"… and {len(found.changes) - most} more kinds of change (--most).")


def _what(row: Row) -> str:
    return row.text if row.certain else f"{row.text} (in some runs)"


def _where(row: Row) -> str:
    methods = [method for method in dict.fromkeys((row.left_method, row.right_method)) if method]
    shown = row.shown_by if len(row.shown_by) < 40 else f"{row.shown_by[:24]}…"
    return "\n".join(part for part in (row.function, " → ".join(methods), shown) if part)


def _events(found: Diff, sides: tuple[str, str]) -> None:
    rows = [(name, str(a), str(b), f"{b - a:+d}") for name, (a, b) in found.events.items() if a != b]
    if rows:
        numbers = (*sides, "change")
        console().print(table("events", ("event", *numbers), rows, numbers=numbers))


def _step(step: dict[str, Any] | None) -> str:
    return "ends" if step is None else " ".join(f"{key}={value}" for key, value in step.items())


def _locks(locks: dict[str, Any]) -> None:
    numbers = ("taken", "waited", "wait ns", "held ns")
    shown = table("locks of the first runs, virtual time", ("lock", "mode", *numbers), numbers=numbers)
    found = [locks["left"], locks["right"]]
    for name in sorted(set(found[0]) | set(found[1])):
        for mode in ("read", "write"):
            stats = [side.get(name, {}).get(mode) for side in found]
            if not any(each and each["acquisitions"] for each in stats):
                continue
            cells = [
                " / ".join("-" if each is None else str(each[key]) for each in stats)
                for key in ("acquisitions", "contentions", "wait_total", "hold_total")
            ]
            shown.add_row(name, mode, *cells)
    console().print(shown)
