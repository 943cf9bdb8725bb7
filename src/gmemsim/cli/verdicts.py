"""Verdicts for the machines of a CI: KTAP, as the kernel's selftests print it, and JUnit's XML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import click

from ..audit.bounded import clean
from .output_files import write_whole
from .params import FILE, options


class Verdict(NamedTuple):
    """One case.

    Attributes:
        name: of the case, without a line break.
        result: `skipped` is what was not judged, never what passed.
        text: why it failed or was skipped.
    """

    name: str
    result: Literal["passed", "failed", "skipped"]
    text: str = ""


verdict_options = options(
    click.option("--ktap", type=FILE, help="The verdicts as KTAP."),
    click.option("--junit", type=FILE, help="The verdicts as JUnit XML."),
)


def write_verdicts(
    suite: str, found: Iterable[Verdict], missing: int, *, ktap: Path | None, junit: Path | None
) -> None:
    """Write what was asked for.

    Args:
        suite: the command.
        missing: how many cases an interruption left out: they fail, as one, since nobody knows.
    """
    cases = list(found)
    if missing:
        cases.append(Verdict(f"{missing} not judged", "failed", "the run ended before them"))
    if ktap is not None:
        write_whole(ktap, _ktap(cases).encode())
    if junit is not None:
        write_whole(junit, _junit(suite, cases))


def _ktap(cases: Sequence[Verdict]) -> str:
    lines = ["KTAP version 1", f"1..{len(cases)}"]
    for number, case in enumerate(cases, 1):
        # A number sign would begin a directive.
        name = clean(case.name, 500).replace("#", "%")
        if case.result == "failed":
            lines += [f"# {clean(line, 1_000)}" for line in case.text.splitlines()]
        skip = f" # SKIP {clean(case.text, 300)}" if case.result == "skipped" else ""
        lines.append(f"{'not ok' if case.result == 'failed' else 'ok'} {number} {name}{skip}")
    return "\n".join(lines) + "\n"


def _junit(suite: str, cases: Sequence[Verdict]) -> bytes:
    from xml.etree import ElementTree

    counts = {name: str(sum(case.result == name for case in cases)) for name in ("failed", "skipped")}
    top = ElementTree.Element(
        "testsuite",
        name=f"gmemsim {suite}",
        tests=str(len(cases)),
        failures=counts["failed"],
        errors="0",
        skipped=counts["skipped"],
    )
    for case in cases:
        one = ElementTree.SubElement(top, "testcase", classname=f"gmemsim.{suite}", name=_xml(case.name))
        if case.result != "passed":
            tag = "failure" if case.result == "failed" else "skipped"
            ElementTree.SubElement(one, tag, message=_xml(case.text))
    text: bytes = ElementTree.tostring(top, encoding="utf-8", xml_declaration=True)
    return text


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
