"""The specification in `docs/spec`: every reference to it leads to a heading, and nobody is shown a bare tag."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "docs" / "spec"
PAGES = ("guest-memfd", "arch", "rwsem", "bugs")
#: `guest-memfd.md 4.6 step 3, 4.7; 7 I2`: the first number belongs to the page, and so do those that follow it.
REFERENCE = re.compile(r"\b(guest-memfd|arch|rwsem|bugs)\.md\)? (\d+(?:\.\d+)?)\b")
FURTHER = re.compile(r"(?:, | to | and )(\d+(?:\.\d+)?)(?=[,;.)\"`: ]|$)(?! (?:µs|ms|ns|s\b|KiB|MiB|GiB))")
TAG = re.compile(r"\[(?:[A-Z]{1,2}\d{0,3}[a-z]?|KM25|TDPM|PATCH)(?: [^\]]*)?\]")

pytestmark = pytest.mark.skipif(
    not SPEC.is_dir(), reason="the pages are in the repository, not in the package"
)


def headings(page: str) -> set[str]:
    """Numbers of the headings of a page."""
    text = (SPEC / f"{page}.md").read_text(encoding="utf-8")
    return set(re.findall(r"^#{2,3} (\d+(?:\.\d+)?)\.? ", text, re.MULTILINE))


def files() -> list[Path]:
    """Everything that may refer to the specification."""
    found = [
        path
        for folder in ("src", "tests", "docs", "bench", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".toml", ".md"} and path != Path(__file__)
    ]
    return [*found, *ROOT.glob("*.md")]


def references(text: str) -> list[tuple[str, str]]:
    """Page and heading of each reference in a text; a line may break between the two."""
    text = re.sub(r"\n[ #]*", " ", text)
    found: list[tuple[str, str]] = []
    for match in REFERENCE.finditer(text):
        found.append((match[1], match[2]))
        rest = text[match.end() : match.end() + 60]
        rest = re.split(r"[();]|\.md", rest)[0]
        found += [
            (match[1], number) for number in FURTHER.findall(rest) if "row" not in rest and "step" not in rest
        ]
    return found


def test_every_reference_leads_to_a_heading() -> None:
    known = {page: headings(page) for page in PAGES}
    assert {"4.6", "1.3", "7"} <= known["guest-memfd"]
    broken = [
        f"{path.relative_to(ROOT)}: {page}.md {number}"
        for path in files()
        for page, number in references(path.read_text(encoding="utf-8"))
        if number not in known[page]
    ]
    assert broken == []


def test_a_reference_to_nothing_is_noticed() -> None:
    assert references("(guest-memfd.md 4.6 step 3, 4.99)\n# arch.md 1.3, 9.9") == [
        ("guest-memfd", "4.6"),
        ("arch", "1.3"),
        ("arch", "9.9"),
    ]
    assert "9.9" not in headings("arch")


def test_no_bare_section_sign() -> None:
    signs = [
        path
        for path in files()
        if SPEC not in path.parents and "\N{SECTION SIGN}" in path.read_text(encoding="utf-8")
    ]
    assert signs == []


@pytest.mark.parametrize("page", PAGES)
def test_every_tag_is_in_the_key(page: str) -> None:
    text = (SPEC / f"{page}.md").read_text(encoding="utf-8")
    key = (SPEC / "sources.md").read_text(encoding="utf-8")
    targets = re.findall(r"^\[[^\]]+\]: sources\.md#(\S+)$", text, re.MULTILINE)
    assert [target for target in targets if f'<a id="{target}"></a>' not in key] == []
    used = {tag.strip("[]").split(" ")[0].split(",")[0].lower() for tag in TAG.findall(text)}
    if targets:
        assert used - {"d", "l"} <= set(targets)


def test_scenarios_say_where_they_come_from() -> None:
    """In a comment: the question itself is plain words."""
    for path in (ROOT / "src/gmemsim/scenarios").rglob("*.toml"):
        text = path.read_text(encoding="utf-8")
        question = re.search(r'^question = "(.*)"$', text, re.MULTILINE)
        if question is not None:
            assert not re.search(r"\b(?:guest-memfd|arch|rwsem|bugs)\.md|README", question[1]), path


@pytest.mark.parametrize(
    "what", ["patches", "rules", "scenarios", "bugs", "changes", "locks", "strategies", "events"]
)
def test_lists_have_no_bare_tag(what: str) -> None:
    result = CliRunner().invoke(cli, ["list", what, "--json"])
    assert result.exit_code == 0, result.output
    assert TAG.findall(result.output) == []
    assert "\N{SECTION SIGN}" not in result.output
