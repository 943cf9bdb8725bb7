"""The report as a page: well-formed, self-contained, and nothing in it can become markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from tests.report.cases import CASES, Random
from tests.report.reports import TOKEN, report

from gmemsim.engine.locks.mutex import Mutex
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.report import report_failure
from gmemsim.report.html import render_html

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

VOID = {"br", "input", "meta", "wbr"}
EVIL = "</script><img src=x onerror=alert(1)>&\"'"


class Page(HTMLParser):
    """Checks that tags nest, and gathers what tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.tags
            if name == tag and all(found.get(key) == value for key, value in wanted.items())
        ]


@pytest.mark.parametrize("name", sorted(CASES))
def test_page(name: str) -> None:
    """It parses, fits into 300 kB, loads nothing, has a row a step, and links only to rows that it has."""
    made = report(name)
    text = render_html(made)
    page = Page(text)
    assert len(text.encode()) < 300_000
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    assert not any({"src", "srcset"} & found.keys() for _, found in page.tags)
    assert not page.all("link")
    rows = {found["id"] for found in page.all("tr") if "data-n" in found}
    assert {f"s{number}" for number in made.shown} <= rows
    links = {str(found["href"]) for found in page.all("a")}
    assert links
    assert links <= {f"#{row}" for row in rows}
    data = json.loads(page.scripts[0])
    assert {f"s{number}" for number in data} == rows
    assert any(text.startswith(f"gmemsim replay {TOKEN}") for text in page.text)
    assert "$" not in re.sub(r"\$/", "", text)


def test_rows() -> None:
    """The failure, the reason and the choice are marked; locks are bars while they are held; sleepers are hatched."""
    made = report("abba")
    text = render_html(made)
    rows = dict(re.findall(r'<tr id="s(\d+)"[^>]*?((?: class="[^"]*")?>.*?)</tr>', text))
    assert rows["22"].startswith(' class="failed named"')
    assert '<td class="z">' in rows["22"]
    assert 'badge m3">choice' in rows["7"]
    bars = {number: row.count("<i ") for number, row in rows.items()}
    held = {
        str(step.number): sum(
            hold.since <= step.number and (not hold.until or step.number <= hold.until) for hold in made.holds
        )
        for step in made.steps
    }
    assert bars == held
    assert "minor" in rows["15"]
    assert re.search(r"… 7 steps<[^>]*>: show<", text)


def test_long_runs_are_cut() -> None:
    """A livelock: what is not on the page is counted."""
    made = report("livelock")
    text = render_html(made)
    on_page = len(re.findall(r'<tr id="s', text))
    missing = sum(map(int, re.findall(r"… (\d+) steps? not on this page", text)))
    assert on_page + missing == len(made.steps)
    assert missing > 500


def _evil(engine: Engine) -> Callable[[], object]:
    first, second = Mutex(f"{EVIL}.a"), Mutex(f"{EVIL}.b")

    async def take(t: Task, one: Mutex, other: Mutex) -> None:
        t.call = 1
        await one.lock(t)
        await other.lock(t)
        await other.unlock(t)
        await one.unlock(t)

    engine.spawn(EVIL, take, first, second)
    engine.spawn("b", take, second, first)
    return lambda: ""


def test_escapes() -> None:
    """Names of tasks and locks, and the token, come out as text."""
    program = TaskProgram(EVIL, _evil)
    (one,) = search(program, Random(0), Limits(schedules=100)).found
    made = report_failure(program, one, EVIL)
    text = render_html(made)
    page = Page(text)
    assert not page.all("img")
    assert len(page.all("script")) == 2
    assert not any(key.startswith("on") for _, found in page.tags for key in found)
    assert any(EVIL in words for words in page.text)
    assert any(EVIL in step["head"] for step in json.loads(page.scripts[0]).values())
    assert len(made.why.cycle) == 2
    assert not set("<>&") & set(page.scripts[0])


def test_sleepers_wake() -> None:
    """A task is hatched from the step after it went to sleep to the one that woke it, and not before or after."""
    made = report("alone")
    rows = dict(re.findall(r'<tr id="s(\d+)"(.*?)</tr>', render_html(made)))
    (wait,) = made.waits
    hatched = [int(number) for number, row in rows.items() if 'class="z"' in row]
    assert hatched == list(range(wait.since + 1, wait.until + 1))
