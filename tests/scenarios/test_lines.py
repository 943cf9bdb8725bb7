"""Line numbers of TOML keys, which tomllib does not give."""

import pytest

from gmemsim.scenarios.lines import locate, nearest

TEXT = """\
# a comment with [brackets] = and "quotes"
title = "x"          # another
[scenario]
name = 'literal # no comment'
"quoted key" = 1
a.b = 2

[[task]]
ops = [
    { op = "touch", count = 3 },   # first
    # in between
    { op = "punch",
      chunk = 8 }, { op = "sleep" },
]
[[task]]
text = \"\"\"
many
lines ] } "here\"\"\"
after = [1, [2,
  3]]
[task.more]
deep = true
[[task.list]]
x = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("scenario",), 3),
        (("scenario", "name"), 4),
        (("scenario", "quoted key"), 5),
        (("scenario", "a", "b"), 6),
        (("task",), 8),
        (("task", 0), 8),
        (("task", 0, "ops"), 9),
        (("task", 0, "ops", 0), 10),
        (("task", 0, "ops", 0, "count"), 10),
        (("task", 0, "ops", 1, "op"), 12),
        (("task", 0, "ops", 1, "chunk"), 13),
        (("task", 0, "ops", 2), 13),
        (("task", 1), 15),
        (("task", 1, "text"), 16),
        (("task", 1, "after"), 19),
        (("task", 1, "after", 1, 1), 20),
        (("task", 1, "more", "deep"), 22),
        (("task", 1, "list", 0, "x"), 24),
    ],
)
def test_every_key_has_its_line(path: tuple[str | int, ...], line: int) -> None:
    assert locate(TEXT)[path] == line


def test_windows_line_ends_count_once() -> None:
    assert locate("a = 1\r\nb = 2\r\n")["b",] == 2


def test_what_is_missing_is_blamed_on_what_is_around_it() -> None:
    lines = locate(TEXT)
    assert nearest(lines, ("task", 0, "ops", 1, "absent", 3)) == 12
    assert nearest(lines, ("elsewhere",)) == 0
