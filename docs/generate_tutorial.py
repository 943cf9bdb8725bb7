"""Put what the commands of the tutorial print into docs/tutorial.md; the patch is the one on the page.

python docs/generate_tutorial.py [--check]
"""

from __future__ import annotations

import re
import sys
import tempfile
from functools import partial
from pathlib import Path

from generate_readme import output

PAGE = Path(__file__).parent / "tutorial.md"


def patch(text: str) -> str:
    """The classes on the page, as the one file that the reader has by then."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return "\n\n".join(block for block in blocks if "(V3)" in block)


def cut(lines: list[str], most: int) -> str:
    """The first lines, with tokens and times taken out: they differ from version to version, and from run to run."""
    shown = [re.sub(r"gm1:\S+", "gm1:…", line) for line in lines[:most]]
    shown = [re.sub(r" in [\d.,]+ s \([\d,]+/s\)", "", line) for line in shown]
    return "\n".join([*shown, *(["[…]"] if len(lines) > most else [])])


def sections(text: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.py").write_text(patch(text))
        said = partial(output, folder=Path(folder))
        wrong = said("explore", "punch", "--patch", "mine.py:NoRetry")
        against = said("explore", "punch", "--patch", "mine.py:NoRetry", "--against", "v3")
        right = said("explore", "punch", "--patch", "mine.py:RetryAny")
    own = next(number for number, line in enumerate(against) if line.startswith("own:"))
    return {"wrong": cut(wrong, 7), "against": cut(against[own:], 40), "right": cut(right, 40)}


def main() -> int:
    """Write, or check."""
    old = new = PAGE.read_text()
    for name, said in sections(old).items():
        pattern = re.compile(rf"(<!-- tutorial: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        new = pattern.sub(lambda found, said=said: f"{found[1]}\n```text\n{said}\n```\n\n{found[2]}", new)  # type: ignore[misc]
    if "--check" in sys.argv:
        return int(new != old)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
