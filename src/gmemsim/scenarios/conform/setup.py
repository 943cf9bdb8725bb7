"""What is there before the first step of a vector, brought about by the steps that make it so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import arguments as a
from .registry import OPS
from .rig import Unsupported
from .vector import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...engine.task import Task
    from .arguments import Args
    from .document import Setup
    from .rig import Rig


async def bring_about(t: Task, rig: Rig) -> None:
    """Files, slots, mappings and launch state as the vector's `setup` has them.

    Raises:
        Unsupported: the version cannot get there.
    """
    for what, actor, args in _steps(rig.setup, rig.kernel.in_place, rig.vm("host").arch.needs_launch):
        got = await OPS[type(args)](rig, t, Step("", actor, what, args, {}), args)
        if got.result != "ok":
            raise Unsupported(f"setup: {what} returned {got.result}")


def _steps(setup: Setup, in_place: bool, needs_launch: bool) -> Iterator[tuple[str, str, Args]]:
    """What it is called, who does it, and the arguments."""
    for gmem in setup.gmems:
        flags: tuple = gmem.flags  # type: ignore[type-arg] # whatever the vector names
        yield f"create {gmem.id}", f"host@{gmem.vm}", a.Create(size=gmem.size, flags=flags, made=gmem.id)
    for slot in setup.slots:
        made = a.Bind(
            slot=slot.slot,
            gpa=slot.gpa,
            size=slot.size,
            flags=slot.flags,
            gmem=slot.gmem,
            gmem_offset=slot.gmem_offset,
            userspace_addr=slot.userspace,
        )
        yield f"bind slot {slot.slot}", "host", made
    for table in setup.maps:
        mapped = a.Mmap(gmem=table.gmem, offset=table.offset, len=table.len, made=table.id, share=table.share)
        yield f"mmap {table.id}", "host", mapped
    state = setup.initial_state
    for slot in setup.slots:
        if state is None or "GUEST_MEMFD" not in slot.flags or slot.gmem is None:
            continue
        if in_place:
            yield (
                "initial_state",
                "host",
                a.Convert(gmem=slot.gmem, offset=slot.gmem_offset, len=slot.size, to=state),
            )
        else:
            names = ("PRIVATE",) if state == "private" else ()
            yield "initial_state", "host", a.SetAttributes(gpa=slot.gpa, len=slot.size, attributes=names)
    if needs_launch and setup.finalized:
        yield "launch_finish", "host", a.LaunchFinish()
