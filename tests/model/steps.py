"""Kernel calls that run alone, step by step.

`python -m tests.model.steps` writes `steps.txt`, which `test_steps.py` checks. A change there is a change of what
searches can interleave and of what logs and oracles see: read it before you write it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine.steps import steps
from tests.explore.workloads import Machine
from tests.model.inplace_rig import InplaceRig

from gmemsim.patches.inplace import Inplace
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).with_name("steps.txt")


def found() -> Iterator[tuple[str, list[str]]]:
    """Title and steps of each call; a call finds what the ones before it left."""

    def told(machine: Machine, what: str, *arguments: object) -> list[str]:
        return steps(lambda t: getattr(machine, what)(t, *arguments), touches=False, events=True)

    machine = Machine(V3, "private", pages=2)
    yield "v3: a guest writes to page 0, which is missing", told(machine, "access", 0, 0, 0, True)
    yield "v3: fallocate of page 1", told(machine, "fallocate", 0, 1, 2, False)
    yield "v3: PUNCH_HOLE of both pages", told(machine, "fallocate", 0, 0, 2, True)
    yield "v3: KVM_SET_MEMORY_ATTRIBUTES, page 0 to shared", told(machine, "convert", 0, 0, 1, False)
    machine.do(lambda t: machine.access(t, 0, 0, 1, True))
    yield "v3: the last close, with page 1 mapped by the guest", told(machine, "close", 0)
    machine = Machine(V3, "shared", pages=2)
    yield "v3: the host writes to page 0, which is missing", told(machine, "touch", 0, 0, True)
    yield "v3: MADV_DONTNEED of page 0", told(machine, "discard", 0, 0, 1)
    machine.do(lambda t: machine.touch(t, 0, 0, True))
    yield "v3: a memory error in page 0, which the host maps", told(machine, "fail", 0, 0)
    machine = InplaceRig(Inplace, "private", pages=2)
    machine.do(lambda t: machine.access(t, 0, 0, 0, True))
    yield "inplace: the conversion of page 0 to shared", told(machine, "convert", 0, 0, 1, False)
    yield "inplace: and back", told(machine, "convert", 0, 0, 1, True)


def text() -> str:
    """The whole file."""
    return "\n\n".join("\n".join([f"## {title}", *lines]) for title, lines in found()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
