"""Are the generated pages what their generators write? Those that take seconds are run; pages are left as they were.

python docs/check.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

#: Generators that take seconds, with what they write. The others run for minutes: `make docs`, before a release.
CHEAP = {
    "generate_events.py": ("events.md",),
    "generate_findings.py": ("findings/README.md",),
    "generate_zoo.py": ("zoo.md",),
    "generate_hazards.py": ("hazards.md",),
    "generate_matrix.py": ("pairs.md", "triples.md"),
    "generate_explore.py": ("explore.md",),
    "generate_compare.py": ("compare/baseline-v3.html", "compare/v3-inplace.html"),
    "generate_readme.py": ("../README.md",),
    "generate_tutorial.py": ("tutorial.md",),
    "generate_record.py": ("record.md",),
    "generate_lab.py": ("lab.md",),
    "generate_costs.py": ("costs.md",),
    "generate_contention.py": ("contention.md",),
    "generate_studies.py": tuple(
        f"studies/{page.name}" for page in HERE.glob("studies/*") if page.suffix in {".md", ".svg"}
    ),
    # The part on mends of each finding's page.
    "generate_mends.py": ("mends.md", *(f"findings/{page.name}" for page in HERE.glob("findings/*-*.md"))),
}

#: Those that take minutes, or need recordings that are not here.
SLOW = {
    "generate_follow.py",
    "generate_litmus.py",
    "generate_published.py",
    "generate_speed.py",
    "generate_strategies.py",
}


def shown(page: bytes) -> list[str]:
    """Its lines, without what differs from run to run: tokens, which hold the version of everything, and times."""
    text = re.sub(r"gm1:[\w=-]+", "gm1:", page.decode())
    return re.sub(r"[\d.,]+ s\b|[\d,]+/s\b", "", text).splitlines()


def stale(script: str, pages: tuple[str, ...]) -> list[str]:
    """What is different, page by page: the first line of each."""
    before = {page: (HERE / page).read_bytes() for page in pages}
    try:
        subprocess.run([sys.executable, HERE / script], check=True, cwd=HERE.parent)
        after = {page: (HERE / page).read_bytes() for page in pages}
    finally:
        for page, content in before.items():
            (HERE / page).write_bytes(content)
    found = []
    for page in pages:
        old, new = shown(before[page]), shown(after[page])
        if old != new:
            line = next((n for n, both in enumerate(zip(old, new, strict=False), 1) if both[0] != both[1]), 0)
            found.append(f"docs/{page}:{line}: not what docs/{script} writes")
    return found


def main() -> int:
    """One line for each page that is out of date; 1 if there is one."""
    there = {path.name for path in HERE.glob("generate*.py")}
    if there != {*CHEAP, *SLOW}:
        raise SystemExit(f"docs/check.py: neither in CHEAP nor in SLOW, or gone: {there ^ {*CHEAP, *SLOW}}")
    found = [line for script, pages in CHEAP.items() for line in stale(script, pages)]
    print(
        "\n".join(found) or f"{sum(map(len, CHEAP.values()))} generated pages are what their generators write"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
