"""What the runner in the guest is told and what it says: opcodes, outcomes, lines of JSON.

Numbers are those of `runner/abi.h`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import msgspec

from ..actors.errno import ERRNOS

#: Operation of a scenario -> its number; `next_round` and `madvise_failure` are the runner's own, `raw_` vectors'.
OPCODES: Final[dict[str, int]] = {
    name: number
    for number, name in enumerate(
        (
            "next_round", "touch", "read", "write", "prefault", "host_touch", "host_read", "host_write", "mmap",
            "munmap", "madvise", "collapse", "pin", "unpin", "create", "close", "allocate", "punch", "file_write",
            "file_read", "ftruncate", "file_ioctl", "memory_failure", "set_file_attributes", "bind", "unbind",
            "set_attributes", "sleep", "signal", "barrier", "madvise_failure", "convert",
            "raw_create", "raw_fallocate", "raw_stat", "raw_read", "raw_write", "raw_pread", "raw_pwrite", "raw_mmap",
            "raw_munmap", "raw_madvise", "raw_load", "raw_store", "raw_bind", "raw_bind1", "raw_attributes",
            "raw_convert", "raw_prefault", "raw_mbind", "raw_mempolicy", "raw_guest_load", "raw_guest_store",
            "raw_flags", "raw_resume", "raw_inject", "raw_unpoison", "raw_node", "raw_vcpu", "signal_pending",
            "raw_fork", "raw_exit",
        )
    )
}  # fmt: skip

_NAMES: Final = {number: name for name, number in OPCODES.items()}

_OUTCOMES: Final = {
    0: "ok",
    1000: "SIGBUS",
    1001: "SIGSEGV",
    1002: "exit_memory_fault",
    1003: "exit_mmio",
    1004: "exit_loop",
    1005: "exit_other",
    1006: "short",
    1007: "cannot",
}

#: Operations with values that are words of memory; those of the others are counts.
_READS: Final = frozenset({"read", "host_read"})


@attrs.frozen
class Call:
    """One operation on the kernel, in the words of the model."""

    op: str
    outcome: str
    values: tuple[str, ...] = ()

    def text(self) -> str:
        """As in an outcome of the model: `read=ok:data:new`."""
        return f"{self.op}={self.outcome}{':' + ','.join(self.values) if self.values else ''}"


@attrs.frozen
class Page:
    """A page of an open file after a round.

    Attributes:
        uptodate: None where the file cannot be mapped, so nobody can see it.
        value: what the host reads there; empty where it cannot.
    """

    index: int
    uptodate: bool | None
    value: str

    def text(self) -> str:
        """`0u=data:new`."""
        return f"{self.index}{'u' if self.uptodate else ''}{'=' if self.value else ''}{self.value}"


@attrs.frozen
class Result:
    """What came of one round: calls of each task, and pages of each file (None: it is not open)."""

    tasks: tuple[tuple[Call, ...], ...]
    files: tuple[tuple[Page, ...] | None, ...]


def outcome_name(code: int) -> str:
    """`ok`, the name of an errno, or an outcome of the runner's."""
    if code in _OUTCOMES:
        return _OUTCOMES[code]
    return ERRNOS.get(-code, f"errno {code}")


def value_name(word: int, values: Mapping[int, str]) -> str:
    """The content that stands behind a word; a negative one is an outcome."""
    if word < 0:
        return outcome_name(-word)
    if word == 0:
        return "zero"
    return values.get(word, f"other:{word:#x}")


def decode_line(line: bytes) -> dict[str, Any] | None:
    """A line of the runner's as an object; None for anything else, such as ftrace text or what a crash left."""
    if not line.startswith(b"{"):
        return None
    try:
        found = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("kind"), str) else None


def read_result(line: Mapping[str, Any], values: Mapping[int, str]) -> Result:
    """The result in a line of kind `outcome`."""
    return Result(
        tuple(tuple(_call(call, values) for call in task) for task in line["tasks"]),
        tuple(
            None if pages is None else tuple(_page(page, values) for page in pages) for pages in line["files"]
        ),
    )


def _call(call: Sequence[int], values: Mapping[int, str]) -> Call:
    op = _NAMES.get(call[0], f"operation {call[0]}")
    if op == "madvise_failure":
        op = "memory_failure"
    rest = call[2:]
    shown = [value_name(word, values) for word in rest] if op in _READS else [str(word) for word in rest]
    return Call(op, outcome_name(call[1]), tuple(shown))


def _page(page: Sequence[int], values: Mapping[int, str]) -> Page:
    index, _present, uptodate, *word = page
    return Page(index, None if uptodate < 0 else uptodate == 1, value_name(word[0], values) if word else "")
