"""What a shell is offered: names, by the option or argument that takes them."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from gmemsim.cli.group import cli


def offered(*words: str) -> list[str]:
    """Completions of the last word."""
    shell = ShellComplete(cli, {}, "gmemsim", "_GMEMSIM_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("expl",), {"explore", "explain"}),
        (("explore", "zoo-poison"), {"zoo-poison_punch"}),
        (("explore", "--patch", "mainline"), {"mainline-7.3"}),
        (("explore", "--against", "v"), {"v1", "v2", "v3"}),
        (("explore", "--without", "I32,I3"), {"I32,I33"}),
        (("explain", "I18"), {"I18"}),
        (("findings", "memory-failure-against-pun"), {"memory-failure-against-punch"}),
        (("run", "--release", "7.3"), {"7.3"}),
        (("stress", "pun"), {"punch"}),
        (("diff", "base"), {"baseline"}),
        (("bench", "contention", "--patch", "v3,inplace-v"), {"v3,inplace-v8"}),
        (("list", "fin"), {"findings"}),
        (("show", "mainl"), {"mainline-7.3"}),
        (("study", "tri"), {"triples"}),
        (("study", "pairs", "mem"), {"memory failure"}),
        (("study", "zoo", "launch-f"), {"launch-finish-repeated"}),
        (("zoo", "launch-f"), {"launch-finish-repeated"}),
    ],
)
def test_names(words: tuple[str, ...], expected: set[str]) -> None:
    assert expected <= set(offered(*words))


def test_a_file_is_left_to_the_shell() -> None:
    shell = ShellComplete(cli, {}, "gmemsim", "_GMEMSIM_COMPLETE")
    (item,) = shell.get_completions(["explore", "--patch"], "./mine.py")
    assert item.type == "file"
