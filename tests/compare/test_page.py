"""The page of a comparison: complete, closed, without anything from outside."""

from __future__ import annotations

from html.parser import HTMLParser

from gmemsim.audit.base import Event
from gmemsim.audit.kvm_events import Prepare, PrepareRet, SetUptodate, TdpFault, TdpFaultRet
from gmemsim.compare.diff import diff, document
from gmemsim.compare.page import page

FAULT: list[Event] = [TdpFault(1), Prepare(1, 5, 0), PrepareRet(0, True), SetUptodate(0, 5), TdpFaultRet(5)]
LEFT: list[tuple[str, Event]] = [("vcpu0<b>", event) for event in FAULT]
RIGHT = [LEFT[0], LEFT[3], LEFT[1], LEFT[2], LEFT[4]]
VOID = {"meta", "br", "wbr"}


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.outside += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def text_of(**more: object) -> str:
    found = diff(LEFT, RIGHT)
    nothing = {"left": None, "right": None}
    data = {"left": "a & b", "right": "<c>", "locks": nothing, "outcomes": nothing, **more} | document(found)
    return page(data, found, ["header, patch: x and <y>"], "2 differences.", "limits")


def test_a_page_is_whole_and_loads_nothing() -> None:
    text = text_of()
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert not reader.outside
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_names_of_others_are_text() -> None:
    text = text_of()
    assert "a &amp; b" in text
    assert "&lt;c&gt;" in text
    assert "vcpu0&lt;b&gt;" in text
    assert "<y>" not in text


def test_it_says_what_differs_and_where() -> None:
    text = text_of()
    assert "prepare after set_uptodate instead of before" in text
    assert "First divergence, at step 1" in text
    assert text.count('class="at"') == 2


def test_outcomes_and_locks() -> None:
    counts = {"read": {"acquisitions": 3, "contentions": 1, "wait_total": 4000, "hold_total": 5}}
    text = text_of(
        outcomes={"left": {"touch: ok": 2}, "right": {"touch: EFAULT": 1}},
        locks={"left": {"mmu_lock": counts}, "right": {}},
    )
    assert "touch: EFAULT" in text
    assert "4,000" in text
