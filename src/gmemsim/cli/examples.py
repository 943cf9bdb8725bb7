"""What `--help`, the man page and the pages show as examples: one table, so that a test can read every line of it."""

from __future__ import annotations

from typing import Final

#: By command: what is typed after `gmemsim `, and what it is good for.
EXAMPLES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "run": (
        ("run hole", "one run of a scenario of the library on v3: what it did, what its locks cost"),
        ("run hole --patch mine.py:Mine --log run.jsonl.zst", "your patch, with its audit log"),
    ),
    "demo": (("demo", "a first look, in seconds"),),
    "list": (
        ("list scenarios", "names for run, explore, diff, …"),
        ("list patches", "names for --patch"),
    ),
    "show": (
        ("show v3", "the functions in which a version differs, with file and line"),
        ("show inplace --against v3", "two versions that are not next to each other"),
        ("show mine.py:Mine --source", "your patch, with the text of each function"),
    ),
    "diff": (
        ("diff baseline v3 --scenario same", "what v3 changed, in the words of its events"),
        ("diff left.jsonl right.jsonl.zst", "two logs, step by step"),
    ),
    "query": (
        (
            "query run.jsonl.zst 'SELECT event, count(*) FROM events GROUP BY event'",
            "how often each event happened",
        ),
        ("query run.jsonl.zst waits", "one of the ready-made queries: who waited for whom"),
    ),
    "follow": (
        ("follow my.trace.gz --patch v3", "accepted, or the first kernel event that the model cannot take"),
    ),
    "explore": (
        ("explore punch --patch mine.py:Mine", "is my patch right?"),
        ("explore punch --patch mine.py:Mine --against v3", "what does it break that v3 does not?"),
        ("explore zoo-poison_punch --html report.html", "a deadlock, as a page to send"),
    ),
    "replay": (("replay TOKEN", "the failure of a report again, step by step"),),
    "outcomes": (("outcomes hole --patch v3 --patch inplace", "every final outcome on two versions"),),
    "litmus": (
        ("litmus", "every question, answered for every version"),
        ("litmus first_fault --patch v3", "one of them, for one version"),
    ),
    "stress": (
        ("stress --patch mine.py:Mine", "a patch on the whole library, with many seeds"),
        ("stress punch close --seeds 100 --state night.jsonl", "a campaign that can be stopped and goes on"),
    ),
    "conform": (
        ("conform --patch v3 --patch inplace", "what the kernel's selftests assert"),
        ("conform --patch mine.py:Mine --junit conform.xml", "the same of a patch, for CI"),
    ),
    "zoo": (
        ("zoo", "are known bugs found?"),
        ("zoo launch-finish-repeated --strategy pct", "one of them, by another strategy"),
    ),
    "study": (
        ("study", "which studies there are"),
        ("study pairs punch --patch v3 --cells 20", "some of what can meet a hole that is punched"),
    ),
    "study pairs": (
        ("study pairs --cells 5 --patch v3", "a few pairs of operations, every state of each"),
        ('study pairs "punch + memory failure" --patch mine.py:Mine', "one pair, on your patch"),
    ),
    "study triples": (
        ("study triples --patch v3 --jobs 2 --state triples.jsonl", "all of a version, with pauses"),
    ),
    "study quadruples": (("study quadruples --cells 20 --states 20000", "a sample"),),
    "study library": (
        ("study library --patch v3", "the library on one version"),
        ("study library punch --schedules 1000", "one scenario on all versions"),
    ),
    "study mends": (
        ("study mends memory-failure-against-punch", "what its candidates end, and what they break"),
    ),
    "findings": (
        ("findings", "what is known to go wrong"),
        ("findings memory-failure-against-punch", "one of them whole"),
    ),
    "explain": (("explain I33", "what a rule says, why, and of which versions"),),
    "hazards": (
        ("hazards", "what the review feared, and the answers"),
        ("hazards 14", "may prepare run outside the folio lock?"),
    ),
    "bench": (
        ("bench contention --vcpus 1,16,256", "what a lock costs as vCPUs are added"),
        ("bench contention --patch v3,inplace --arch snp", "two versions side by side"),
    ),
    "bench contention": (
        ("bench contention --patch v3,inplace --vcpus 1,16,256", "what a lock costs as vCPUs are added"),
        ("bench contention --patch inplace --arch tdx --storm convert,accept", "other storms, on a TD"),
        ("bench contention --patch hugepage --folio 2M --storm first-touch", "large folios"),
        (
            "bench contention --seeds 10 --warmup 20 --state night.state --jobs 2",
            "intervals; goes on when stopped",
        ),
        (
            "bench contention --patch v3,inplace --costs milan --sockets 1,2",
            "with all that CPUs share charged",
        ),
    ),
    "bench study": (
        ("bench study", "the questions that are answered"),
        ("bench study Q17 --no-sweep", "one of them, with the default costs"),
        ("bench study Q3 --jobs 2 --state q3.state", "with every corner of the uncertain costs"),
    ),
    "bench costs": (
        ("bench costs --costs milan", "a machine's table, with where each figure is from"),
        ("bench costs --costs my.toml --arch tdx --json", "your own"),
    ),
    "lab": (
        ("lab setup", "what is there and what is missing"),
        ("lab run hole --kernel 7.3.4", "a scenario on a real kernel"),
        ("lab reproduce memory-failure-against-punch --kernel 7.3.4", "does this kernel hang, too?"),
    ),
    "lab setup": (
        ("lab setup", "what is there and what is missing"),
        ("lab setup --fetch 7.3.4", "a stock Debian kernel from its archive"),
    ),
    "lab run": (("lab run hole --kernel 7.3.4", "a scenario on a real kernel"),),
    "lab compare": (
        ("lab compare hole --kernel 7.3.4", "do the kernel's outcomes lie within those of the model?"),
    ),
    "lab reproduce": (
        ("lab reproduce memory-failure-against-punch --kernel 7.3.4", "does this kernel hang, too?"),
    ),
    "lab again": (
        ("lab again results.jsonl.gz", "what kernels came to earlier, against today's model"),
        (
            "lab again results.jsonl.gz --differing --patch mine.py:Mine",
            "only what did not agree, on a patch",
        ),
    ),
    "lab vectors": (("lab vectors --kernel 7.3.4", "what the selftests assert, on a real kernel"),),
    "man": (
        ("man | man -l -", "the manual page in a pager"),
        ("man explore > gmemsim-explore.1", "that of one command, as a file"),
    ),
    "completion": (
        ("completion bash > ~/.local/share/bash-completion/completions/gmemsim", "for every new shell"),
        ("completion zsh > ~/.zfunc/_gmemsim", "where `fpath` has ~/.zfunc"),
    ),
}

#: They have a short name as well.
for _name in ("zoo", "hazards", "litmus"):
    EXAMPLES[f"study {_name}"] = tuple((f"study {line}", says) for line, says in EXAMPLES[_name])


def sentence(says: str) -> str:
    """What an example is good for, as the line above it."""
    return says if says.endswith("?") else f"{says}:"
