"""The pages for who works on the code are true of the code: paths exist, and rooms import only from lower floors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "gmemsim"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

pytestmark = pytest.mark.skipif(
    not ARCHITECTURE.exists(), reason="the pages are in the repository, not in the package"
)


#: A file of somebody's, the kernel's, another project's, or made by a command.
ELSEWHERE = re.compile(r"path/to/file\.py|filemap/mm_\w+|kvm/kvm_\w+|benchmarks/results/\S*|build/\w+")


@pytest.mark.parametrize(
    "name",
    sorted(
        str(page.relative_to(ROOT))
        for page in (ROOT / "CONTRIBUTING.md", ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
        if page.exists()
    ),
)
def test_every_path_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    # `engine/bare.py`, `scenarios/handlers`, `docs/spec`; a capital stands for a name that the reader chooses.
    paths = re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]+(?:\.[a-z]+)?)`", text)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    bases = (ROOT, PACKAGE, (ROOT / name).parent)
    missing = [
        path
        for path in paths
        if not ELSEWHERE.fullmatch(path) and not any((base / path).exists() for base in bases)
    ]
    # Pages below reference/ and samples/ are made with the site.
    here = (ROOT / name).parent
    missing += [link for link in links if not link.startswith(MADE) and not (here / link).exists()]
    assert missing == []


#: Beginnings of links that only the site, or the world, can follow.
MADE = ("reference/", "../reference/", "samples/", "http:", "https:", "mailto:")


def floors() -> dict[str, int]:
    rows = re.findall(r"^\| (\d) \| `([a-z_]+)` \|", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    return {room: int(floor) for floor, room in rows}


def test_every_room_is_on_a_floor() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == set(floors())


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports when it runs; not what it needs for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    package = path.relative_to(PACKAGE).parent.parts
    rooms: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in for_types:
            base = package[: len(package) - node.level + 1]
            full = (*base, *(node.module or "").split("."))
            rooms |= {full[0]} if full[0] else {alias.name for alias in node.names}
    return rooms


def test_rooms_import_only_from_lower_floors() -> None:
    floor = floors()
    assert imported_rooms(PACKAGE / "compare" / "collect.py") >= {"explore", "scenarios"}
    upwards = [
        f"{path.relative_to(PACKAGE)}: {other}"
        for room in floor
        for path in (PACKAGE / room).rglob("*.py")
        for other in imported_rooms(path)
        if other != room and other in floor and floor[other] >= floor[room]
    ]
    assert upwards == []
