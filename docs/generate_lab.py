"""Write the figures of docs/lab.md from docs/lab: what kernels came to, vectors, findings that were reproduced.

    gmemsim lab compare --drawn 500 --seed 11 --kernel 7.3.4 --results 7.3.4.jsonl
    gmemsim lab again 7.3.4.jsonl --write docs/lab/results-7.3.4-11.jsonl.gz
    gmemsim lab vectors --kernel 7.3.4 --json > docs/lab/vectors-7.3.4.json
    python docs/generate_lab.py

A line of reproduced.jsonl is what `gmemsim lab reproduce` said, by hand.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from gmemsim.lab.results import read_results, totals

HERE = Path(__file__).parent
DATA = HERE / "lab"
BEGIN, END = "<!-- written by generate_lab.py -->\n", "<!-- end -->"


def drawn() -> list[str]:
    """A row for each campaign."""
    lines = [
        "| kernel | version | drawn | scenarios | rounds | distinct outcomes | agree | differ | undecided | "
        "refused | "
        "outcomes seen of the model's, where all of these are known | s on the kernel |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for path in sorted(DATA.glob("results-*.jsonl.gz")):
        head, rows = read_results(path)
        sums = totals(rows.values())
        count = [sums.verdicts.get(word, 0) for word in ("agree", "differ", "undecided", "refused")]
        wide = " `--wide`" if any(name.startswith("wide-") for name in rows) else ""
        share = f"{sums.seen} of {sums.outcomes} ({sums.complete} scenarios)"
        lines.append(
            f"| {head.kernel} | `{head.patch}` | `--seed {head.seed}`{wide} | {sums.scenarios} | {sums.rounds:,} | "
            f"{sums.distinct} | {' | '.join(map(str, count))} | {share} | {sums.seconds:,.0f} |"
        )
    return lines


def operations() -> list[str]:
    """How often each result of each operation came."""
    counts: Counter[str] = Counter()
    for path in sorted(DATA.glob("results-*.jsonl.gz")):
        for row in read_results(path)[1].values():
            for outcome, rounds in row.kernel_outcomes.items():
                for word in outcome.replace("(", " ").replace(")", " ").split():
                    op, found, rest = word.partition("=")
                    if found and op.isidentifier():
                        counts[f"{op} {rest.partition(':')[0]}"] += rounds
    by_op: dict[str, list[str]] = {}
    for key, count in counts.most_common():
        op, _, result = key.partition(" ")
        by_op.setdefault(op, []).append(f"{result} {count:,}")
    rows = [f"| `{op}` | {', '.join(results)} |" for op, results in sorted(by_op.items())]
    return ["| operation | results and how often, over all rounds |", "|---|---|", *rows]


def vectors() -> list[str]:
    """Vectors by kernel, and why some were not run."""
    documents: list[dict[str, Any]] = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("vectors-*.json"))
    ]
    lines = [
        "| kernel | version | vectors | passed | failed | not run | s, boot included |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    reasons: Counter[str] = Counter()
    for found in documents:
        counts = found["counts"]
        lines.append(
            f"| {found['kernel']} | `{found['patch']}` | {len(found['vectors'])} | {counts.get('passed', 0)} | "
            f"{counts.get('failed', 0)} | {counts.get('not run', 0)} | {found['seconds']:.0f} |"
        )
    for one in documents[-1]["vectors"]:
        if one["result"] == "not run":
            reasons[one["text"].removesuffix(": the runner does not do it")] += 1
    words = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "none"
    ran: dict[str, dict[str, str]] = {}
    for found in documents:
        for one in found["vectors"]:
            ran.setdefault(one["id"], {})[found["kernel"]] = one["result"]
    kernels = [found["kernel"] for found in documents]
    table = [f"| vector | {' | '.join(kernels)} |", f"|---|{'---|' * len(kernels)}"]
    table += [
        f"| `{name}` | {' | '.join(results.get(kernel, '-') for kernel in kernels)} |"
        for name, results in sorted(ran.items())
    ]
    return [
        *lines, "", f"Not run on {documents[-1]['kernel']}, by what they need: {words}.", "",
        "<details><summary>Each vector</summary>", "", *table, "", "</details>",
    ]  # fmt: skip


def reproduced() -> list[str]:
    """Findings by kernel."""
    lines = ["| finding | looked for with | kernel | seen | s, boot included |", "|---|---|---|---|--:|"]
    for line in (DATA / "reproduced.jsonl").read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        lines.append(
            f"| `{found['finding']}` | {found['with']} | {found['kernel']} | {found['seen']} | "
            f"{found.get('seconds', '')} |"
        )
    return lines


def main() -> None:
    """Everything between the two marks."""
    page = HERE / "lab.md"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    parts = [
        "### Drawn scenarios\n", *drawn(), "\nWhat came of operations on the kernels:\n", *operations(),
        "\n### Vectors\n", *vectors(), "\n### Findings\n", *reproduced(),
    ]  # fmt: skip
    page.write_text(before + BEGIN + "\n" + "\n".join(parts) + "\n\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
