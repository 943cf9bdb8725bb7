"""Small scenarios drawn at random from all operations that the model and a stock kernel both have."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from ..scenarios.scenario import loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scenarios.scenario import Scenario


def part_of(draw: random.Random, pages: int) -> str:
    """A range of so many pages, as keys of an operation."""
    start = draw.randrange(pages)
    return f"start = {start}, count = {draw.randint(1, pages - start)}"


#: Operations of a vCPU: text of each from the number of pages and the value that this task writes.
_GUEST: Final[tuple[Callable[[random.Random, int, str], str], ...]] = (
    lambda d, n, v: f'op = "touch", write = "{v}", {part_of(d, n)}',
    lambda d, n, v: f'op = "touch", {part_of(d, n)}',
    lambda d, n, v: f'op = "write", value = "{v}", {part_of(d, n)}',
    lambda d, n, v: f'op = "read", {part_of(d, n)}',
    lambda d, n, v: f'op = "read", {part_of(d, n)}',
    lambda d, n, v: f'op = "prefault", {part_of(d, n)}',
)

#: Operations of a thread of the VMM.
_HOST: Final[tuple[Callable[[random.Random, int, str], str], ...]] = (
    lambda d, n, v: f'op = "punch", {part_of(d, n)}',
    lambda d, n, v: f'op = "punch", {part_of(d, n)}',
    lambda d, n, v: f'op = "allocate", {part_of(d, n)}',
    lambda d, n, v: f'op = "host_read", {part_of(d, n)}',
    lambda d, n, v: f'op = "host_read", {part_of(d, n)}',
    lambda d, n, v: f'op = "host_write", value = "{v}", {part_of(d, n)}',
    lambda d, n, v: f'op = "host_touch", {part_of(d, n)}',
    lambda d, n, v: f'op = "madvise", {part_of(d, n)}',
    lambda d, n, v: 'op = "unbind", slot = 0',
    lambda d, n, v: 'op = "bind", slot = 0',
    lambda d, n, v: 'op = "munmap", map = "m"',
)

#: What is refused or ends something: drawn less often.
_ODD: Final[tuple[Callable[[random.Random, int, str], str], ...]] = (
    lambda d, n, v: 'op = "close", file = "gmem0"',
    lambda d, n, v: f'op = "file_write", value = "{v}", {part_of(d, n)}',
    lambda d, n, v: f'op = "file_read", {part_of(d, n)}',
    lambda d, n, v: f'op = "ftruncate", file = "gmem0", size = {d.choice((0, 4096, 12288))}',
    lambda d, n, v: 'op = "file_ioctl", file = "gmem0"',
    lambda d, n, v: f'op = "set_attributes", private = {d.choice(("true", "false"))}, {part_of(d, n)}',
    lambda d, n, v: f'op = "set_file_attributes", private = {d.choice(("true", "false"))}, {part_of(d, n)}',
    lambda d, n, v: (
        f'op = "punch", offset = {d.choice((0, 1, 4095, 8192, -4096))}, length = {d.choice((0, 1, 4096))}'
    ),
    lambda d, n, v: f'op = "allocate", offset = {d.choice((0, 1, 8192))}, length = {d.choice((0, 1, 4096))}',
    lambda d, n, v: f'op = "punch", keep_size = false, {part_of(d, n)}',
    lambda d, n, v: f'op = "create", file = "gmem0", size = {d.choice((0, 1, 4096, 4097))}',
    lambda d, n, v: f'op = "collapse", {part_of(d, n)}',
    lambda d, n, v: f'op = "mmap", map = "m", shared = {d.choice(("true", "true", "false"))}',
    lambda d, n, v: f'op = "pin", map = "m", {part_of(d, n)}',
    lambda d, n, v: f'op = "unpin", map = "m", {part_of(d, n)}',
    lambda d, n, v: 'op = "signal", task = "vcpu0"',
    lambda d, n, v: f'op = "memory_failure", start = {d.randrange(n)}, count = 1',
)

#: What needs a mapping of the file.
_MAPPED: Final = frozenset(
    {"host_read", "host_write", "host_touch", "madvise", "munmap", "collapse", "pin", "unpin"}
)
#: Flags of the file; None: all that a default VM has.
_FLAGS: Final = (None, None, None, None, None, None, '"MMAP"', "")


def drawn_text(seed: int, number: int) -> str:
    """The scenario with this number of a seed, as the text of a file."""
    draw = random.Random(f"gmemsim lab {seed} {number}")
    pages = draw.choice((1, 1, 1, 2))
    flags = draw.choice(_FLAGS)
    kinds = draw.choice((("vcpu", "host"), ("vcpu", "host"), ("vcpu", "host"), ("host", "host"), ("vcpu", "vcpu"),
                         ("vcpu", "host", "host")))  # fmt: skip
    tasks: list[tuple[str, list[str]]] = []
    left = 4 if len(kinds) == 2 else 3
    for position, kind in enumerate(kinds):
        room = left - (len(kinds) - position - 1)
        count = 1 if position and len(kinds) == 3 else draw.randint(1, max(1, min(2, room)))
        left -= count
        ops = [_draw_op(draw, kind, pages, f"t{position}", flags) for _ in range(count)]
        if kinds[0] != "vcpu":
            ops = [op.replace("vcpu0", "host0") for op in ops]
        tasks.append((kind, ops))
    setup = []
    if draw.random() < 0.4:
        setup.append(f'op = "allocate", {part_of(draw, pages)}')
    if flags is None and draw.random() < 0.3:
        setup.append(f'op = "host_write", value = "first", {part_of(draw, pages)}')
    lines = [
        "[scenario]",
        f'name = "drawn-{seed}-{number}"',
        'summary = "drawn at random"',
        'vm_types = ["default"]',
        "[[vm]]",
        f'on_memory_fault = "{draw.choice(("reenter", "stop"))}"',
        "[[file]]",
        'id = "gmem0"',
        f"pages = {pages}",
        *([] if flags is None else [f"flags = [{flags}]"]),
        "[[slot]]",
        'file = "gmem0"',
        "gfn = 0x10000",
        "[[map]]",
        'id = "m"',
        'file = "gmem0"',
        *([] if flags is None or flags else ["absent = true"]),
    ]
    if setup:
        lines += ["[setup]", f"ops = [{', '.join('{ ' + op + ' }' for op in setup)}]"]
    hosts = 0
    for kind, made in tasks:
        lines.append("[[task]]")
        if kind == "vcpu":
            lines.append('role = "vcpu"')
        else:
            lines.append(f'name = "host{hosts}"')
            hosts += 1
        lines.append(f"ops = [{', '.join('{ ' + op + ' }' for op in made)}]")
    return "\n".join((*lines, ""))


def _draw_op(draw: random.Random, kind: str, pages: int, value: str, flags: str | None) -> str:
    while True:
        table = _GUEST if kind == "vcpu" else _ODD if draw.random() < 0.2 else _HOST
        op = draw.choice(table)(draw, pages, value)
        # Of a file that nobody can map, a mapping is asked for now and then, and seldom used.
        if flags != "" or op.split('"')[1] not in _MAPPED or draw.random() < 0.1:
            return op


def drawn(seed: int, number: int) -> Scenario:
    """The scenario with this number of a seed."""
    return loads(drawn_text(seed, number), f"drawn-{seed}-{number}")
