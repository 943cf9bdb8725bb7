"""The operations that meet each other in `matrix`, and the small scenarios made of them.

A cell is one page of one file (or two, or one huge page, of which two pages are used), in one of several states in
which the operations mean something (`SETUPS`), and two or more tasks with one operation each. What an operation is
expected to return is left open; the oracles, the engine and the sequential order judge.
"""

from __future__ import annotations

from typing import Final

import attrs

#: States of the page: nobody has touched it; the guest uses it, as private memory where there is such; it is shared,
#: and guest and host use it.
SETUPS: Final = ("untouched", "used", "shared")


@attrs.frozen
class Operation:
    """One row of the matrix.

    Attributes:
        toml: the operation, or several, as in a scenario.
        vcpu: it is a vCPU's.
        host: it needs a file that the host can map: VM types whose files start shared, and versions in place.
        launch: it belongs before the end of the launch.
        only: VM types that have it; empty: all.
        alone: it is left out where three operations meet.
    """

    name: str
    toml: str
    vcpu: bool = False
    host: bool = False
    launch: bool = False
    only: frozenset[str] = frozenset()
    alone: bool = False


_PRIVATE: Final = frozenset({"sw-protected", "snp", "tdx"})

OPERATIONS: Final = (
    Operation("touch", '{ op = "touch", write = "{task}" }', vcpu=True),
    Operation("pre-fault", '{ op = "prefault" }', vcpu=True, alone=True),
    Operation("host write", '{ op = "host_write", map = "m", value = "host" }', host=True),
    Operation("pin", '{ op = "pin", map = "m" }, { op = "unpin", map = "m" }', host=True, alone=True),
    Operation("madvise", '{ op = "madvise", map = "m" }', host=True, alone=True),
    Operation("munmap", '{ op = "munmap", map = "m" }', host=True, alone=True),
    Operation("allocate", '{ op = "allocate" }'),
    Operation("punch", '{ op = "punch" }'),
    Operation("to private", '{ op = "convert", private = true }', only=_PRIVATE),
    Operation("to shared", '{ op = "convert", private = false }', only=_PRIVATE),
    Operation("memory failure", '{ op = "memory_failure" }'),
    Operation("delete slot", '{ op = "unbind", slot = 0 }'),
    Operation("make slot", '{ op = "bind", slot = 0 }'),
    Operation("close", '{ op = "close", file = "gmem0" }'),
    Operation(
        "populate",
        '{ op = "populate", source = "image" }, { op = "launch_finish" }',
        launch=True,
        only=frozenset({"snp", "tdx"}),
    ),
)


#: The same for a file of one huge page, of which the guest uses the first pages: `split` and `merge` are conversions.
HUGE_OPERATIONS: Final = (
    Operation("touch", '{ op = "touch", start = 0, count = 1, write = "{task}" }', vcpu=True),
    Operation("touch neighbour", '{ op = "touch", start = 1, count = 1, write = "{task}" }', vcpu=True),
    Operation(
        "host write", '{ op = "host_write", map = "m", start = 0, count = 1, value = "host" }', host=True
    ),
    Operation("allocate", '{ op = "allocate", start = 0, count = 1 }'),
    Operation("punch", '{ op = "punch" }'),
    Operation("punch page", '{ op = "punch", start = 0, count = 1 }'),
    Operation("split", '{ op = "convert", private = false, start = 0, count = 1 }', only=_PRIVATE),
    Operation("merge", '{ op = "convert", private = true }', only=_PRIVATE),
    Operation("memory failure", '{ op = "memory_failure", start = 0, count = 1 }'),
    Operation("delete slot", '{ op = "unbind", slot = 0 }'),
    Operation("close", '{ op = "close", file = "gmem0" }'),
)


#: The same for a file of two pages: the whole of it, or its first page, or a vCPU on the second.
TWO_PAGE_OPERATIONS: Final = (
    *(one for one in HUGE_OPERATIONS if one.name not in ("allocate", "split", "merge", "close")),
    Operation("allocate", '{ op = "allocate" }'),
    Operation("to private", '{ op = "convert", private = true }', only=_PRIVATE),
    Operation("page to shared", '{ op = "convert", private = false, start = 0, count = 1 }', only=_PRIVATE),
    *(one for one in OPERATIONS if one.name in ("make slot", "close", "populate")),
)


@attrs.frozen
class Cell:
    """Operations at once on one version and VM type, from one state of the page.

    Attributes:
        huge: the file is one huge page, of which the first two pages are used.
        pages: else, how many pages it has: 1 or 2.
    """

    names: tuple[str, ...]
    patch: str
    arch: str
    setup: str = "untouched"
    huge: bool = False
    pages: int = 1


def rows_for(pages: int, *, huge: bool) -> tuple[Operation, ...]:
    """The operations that meet each other on such a file."""
    return HUGE_OPERATIONS if huge else TWO_PAGE_OPERATIONS if pages == 2 else OPERATIONS


def operations(cell: Cell) -> list[Operation]:
    """The rows of a cell.

    Raises:
        KeyError: no operation has that name.
    """
    by_name = {one.name: one for one in rows_for(cell.pages, huge=cell.huge)}
    return [by_name[name] for name in cell.names]


def scenario_text(cell: Cell) -> str:
    """The scenario of a cell, as TOML."""
    rows = operations(cell)
    names = set(cell.names)
    launch = any(one.launch for one in rows)
    host = any(one.host for one in rows)
    shared = cell.arch == "default" or cell.setup == "shared" or host
    flags = ["MMAP", "INIT_SHARED"] if shared else []
    flags += ["HUGETLB", "HUGETLB_2M"] if cell.huge else []
    pages, one_page = (512, ", start = 0, count = 1") if cell.huge else (cell.pages, "")
    mapped = host or cell.setup == "shared"
    lines = [
        "[scenario]",
        f'name = "cell"\nsummary = "{" against ".join(cell.names)}"\nquestion = "What comes of them?"',
        '[[vm]]\nid = "vm0"\naccept = "tolerant"\non_memory_fault = "stop"',
        "choices = { sept_ve_disable = false }",
        f'[[file]]\nid = "gmem0"\npages = {pages}\nflags = {flags!r}',
        '[[slot]]\nid = 0\nfile = "gmem0"\ngfn = 0x10000',
    ]
    if "make slot" in names and "delete slot" not in names:
        lines.append("absent = true")
    if mapped:
        lines.append('[[map]]\nid = "m"\nfile = "gmem0"')
    setup = ["finalize = false" if launch else ""]
    before = (
        [f'{{ op = "host_write", map = "m", value = "before"{one_page} }}'] if cell.setup == "shared" else []
    )
    if cell.setup == "used" and shared and cell.arch != "default":
        before = ['{ op = "convert", private = true }']
    if cell.setup != "untouched":
        before.append(f'{{ op = "touch", write = "guest"{one_page} }}')
    elif "memory failure" in names:
        before.append(f'{{ op = "allocate"{one_page} }}')
    if before:
        setup.append(f"ops = [{', '.join(before)}]")
    lines.append("[setup]\n" + "\n".join(line for line in setup if line))
    if (cell.setup != "untouched" or launch) and not any(one.vcpu for one in rows):
        # The setup's touch needs one, and so does a launch (KVM_TDX_INIT_MEM_REGION is a vCPU's ioctl). Here it has
        # nothing to do.
        lines.append('[[task]]\nrole = "vcpu"\nops = [{ op = "sleep", time = 0 }]')
    for number, one in enumerate(rows):
        role = 'role = "vcpu"' if one.vcpu else f'name = "t{number}"'
        lines.append(f"[[task]]\n{role}\nops = [{one.toml}]")
    return "\n\n".join(lines)


def names() -> list[str]:
    """Of all operations, on whatever file."""
    return list(dict.fromkeys(row.name for row in (*OPERATIONS, *TWO_PAGE_OPERATIONS, *HUGE_OPERATIONS)))
