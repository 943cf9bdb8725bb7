"""The reference page is what the classes say."""

from __future__ import annotations

import runpy
from pathlib import Path

from gmemsim.audit.vocabulary import MODULES, name_of

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "events.md"
render_reference = runpy.run_path(str(DOCS / "generate_events.py"))["render_reference"]


def test_the_page_in_the_tree_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_reference(), "run: python docs/generate_events.py"


def test_every_event_has_its_row() -> None:
    page = render_reference()
    classes = list({getattr(module, name) for module in MODULES for name in getattr(module, "__all__", ())})
    assert [page.count(f"\n| `{name_of(cls)}` |") for cls in classes] == [1] * len(classes)
    assert page.count("\n| `") == len(classes)
    assert f"\n{len(classes)} events:\n" in page


def test_a_row() -> None:
    assert (
        "\n| `page_cache_add` | `index` int, `pfn` int, `order` int | The folio is in the page cache. "
        "| tracepoint mm_filemap_add_to_page_cache |\n"
    ) in render_reference()


def test_links_lead_to_headings() -> None:
    lines = render_reference().splitlines()
    headings = {line[3:].lower().replace(" ", "-") for line in lines if line.startswith("## ")}
    links = {line.split("(#")[1].split(")")[0] for line in lines if line.startswith("* [")}
    assert links == headings
