"""Write the table of docs/published.md from what bench/published.py measures.

python docs/generate_published.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
BEGIN, END = "<!-- figures -->\n", "<!-- /figures -->"
NAMES = ("ident", "published", "ours", "band")
VERDICT = {True: "inside", False: "**miss**", None: "no test"}


def table() -> str:
    """The targets, one row each, and below it what each stands on."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "targets.json"
        script = HERE.parent / "bench" / "published.py"
        subprocess.run(
            [sys.executable, str(script), "--json", str(path)], check=True, stdout=subprocess.DEVNULL
        )
        rows = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| | published | here | band | | kind |", "|---|---|---|---|---|---|"]
    lines += [
        "| " + " | ".join((*(row[name] for name in NAMES), VERDICT[row["inside"]], row["kind"])) + " |"
        for row in rows
    ]
    return "\n".join([*lines, "", *(f"* **{row['ident']}**: {row['says']}" for row in rows)])


if __name__ == "__main__":
    page = HERE / "published.md"
    head, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{table()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
