"""Drawn scenarios with two of something: slots on one file, files, a slot of ordinary memory, VMs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import attrs

from ..scenarios.scenario import loads
from .drawn import part_of

if TYPE_CHECKING:
    from ..scenarios.scenario import Scenario

#: Operations of a vCPU and of a thread of the VMM, the frequent ones more than once; then what is refused or rare.
_GUEST: Final = ("touch", "write", "write", "read", "read", "prefault")
#: Where a slot is read-only: the model has no stores to it.
_LOADS: Final = ("touch", "read", "prefault")
_HOST: Final = (
    "punch", "punch", "allocate", "host_read", "host_write", "host_touch", "madvise", "bind", "bind", "unbind",
    "unbind", "munmap",
)  # fmt: skip
_ODD: Final = (
    "close", "create", "mmap", "pin", "unpin", "memory_failure", "set_attributes", "signal", "ftruncate", "file_write",
)  # fmt: skip
_MAPPED: Final = frozenset(
    {"host_read", "host_write", "host_touch", "madvise", "munmap", "mmap", "pin", "unpin"}
)
#: Flags of a file; None: all that a default VM has.
_FLAGS: Final = (None, None, None, '"MMAP"', "")


@attrs.define
class _World:
    """What there is, as text, and what operations can name: pages of each file, of each slot, of each mapping."""

    lines: list[str] = attrs.field(factory=list)
    files: dict[str, int] = attrs.field(factory=dict)
    slots: dict[int, int] = attrs.field(factory=dict)
    maps: dict[str, int] = attrs.field(factory=dict)
    readonly: bool = False
    #: Text of the mappings, which come last.
    maps_text: list[str] = attrs.field(factory=list)
    #: Each VM and the slots that it has.
    vms: list[tuple[str, list[int]]] = attrs.field(factory=list)

    def file(self, draw: random.Random, name: str, pages: int, vm: str = "") -> None:
        flags = draw.choice(_FLAGS)
        self.files[name] = pages
        self.lines += ["[[file]]", f'id = "{name}"', f"pages = {pages}"]
        self.lines += [f'vm = "{vm}"'] if vm else []
        self.lines += [] if flags is None else [f"flags = [{flags}]"]
        if flags != "":
            self.maps[f"m{len(self.maps)}"] = pages
            self.maps_text += ["[[map]]", f'id = "m{len(self.maps) - 1}"', f'file = "{name}"']
            if draw.random() < 0.2:
                self.maps_text.append("absent = true")

    def slot(self, ident: int, gfn: int, pages: int, *more: str) -> None:
        self.slots[ident] = pages
        self.lines += ["[[slot]]", f"id = {ident}", f"gfn = {gfn:#x}", f"pages = {pages}", *more]


def _world(draw: random.Random) -> _World:
    """Two slots on one file, two files, ordinary memory beside a file, or two VMs."""
    world = _World()
    kind = draw.choice(("halves", "rivals", "files", "ordinary", "vms"))
    absent = ["absent = true"] if draw.random() < 0.4 else []
    policy = f'on_memory_fault = "{draw.choice(("reenter", "stop"))}"'
    world.lines += ["[[vm]]", 'id = "vm0"', policy]
    if kind == "vms":
        world.lines += ["[[vm]]", 'id = "vm1"', policy]
    if kind in ("halves", "rivals"):
        world.file(draw, "gmem0", 2)
        world.slot(0, 0x10000, 1 if kind == "halves" else 2, 'file = "gmem0"')
        start = 1 if kind == "halves" else draw.randrange(2)
        gfn = draw.choice((0x10001, 0x20000))
        absent = absent if kind == "halves" else ["absent = true"]
        world.slot(1, gfn, 1, 'file = "gmem0"', f"start = {start}", *absent)
    elif kind in ("files", "vms"):
        world.file(draw, "gmem0", 1)
        world.file(draw, "gmem1", 1, "vm1" if kind == "vms" else "")
        world.slot(0, 0x10000, 1, 'file = "gmem0"')
        gfn = 0x20000 if kind == "files" and not absent else 0x10000
        world.slot(1, gfn, 1, 'file = "gmem1"', *absent)
    else:
        world.file(draw, "gmem0", 1)
        world.slot(0, 0x10000, 1, 'file = "gmem0"')
        odd = draw.choice(("", "", "readonly = true", "log_dirty = true"))
        world.readonly = odd.startswith("readonly")
        gfn = 0x10000 if absent and draw.random() < 0.5 else draw.choice((0x10001, 0x20000))
        world.slot(1, gfn, draw.choice((1, 2)), *([odd] if odd else []), *absent)
    world.vms = [("vm0", [0]), ("vm1", [1])] if kind == "vms" else [("vm0", [0, 1])]
    world.lines += world.maps_text
    return world


def _guest_op(draw: random.Random, world: _World, slots: list[int], value: str) -> str:
    op, slot = draw.choice(_LOADS if world.readonly else _GUEST), draw.choice(slots)
    if op == "prefault" and draw.random() < 0.3:
        address = 0x10000000 + draw.choice((0, 1, -4096, 4096))
        return f'op = "prefault", address = {address}, size = {draw.choice((0, 1, 4096, 8192, 12288))}'
    what = f', value = "{value}"' if op == "write" else ""
    return f'op = "{op}", slot = {slot}{what}, {part_of(draw, world.slots[slot])}'


def _host_op(draw: random.Random, world: _World, value: str, other: str) -> str:
    while True:
        op = draw.choice(_ODD if draw.random() < 0.2 else _HOST)
        if op not in _MAPPED or world.maps:
            break
    file = draw.choice(list(world.files))
    on_file = f'op = "{op}", file = "{file}"'
    if op in ("bind", "unbind"):
        return f'op = "{op}", slot = {draw.choice(list(world.slots))}'
    if op in ("close", "create"):
        return on_file
    if op == "ftruncate":
        return f"{on_file}, size = {draw.choice((0, 4096, 12288))}"
    if op == "memory_failure":
        return f"{on_file}, start = {draw.randrange(world.files[file])}, count = 1"
    if op in ("punch", "allocate", "file_write"):
        what = f', value = "{value}"' if op == "file_write" else ""
        return f"{on_file}{what}, {part_of(draw, world.files[file])}"
    if op == "set_attributes":
        slot = draw.choice(list(world.slots))
        return f'op = "{op}", private = {draw.choice(("true", "false"))}, slot = {slot}'
    if op == "signal":
        return f'op = "signal", task = "{other}"'
    mapping = draw.choice(list(world.maps))
    if op in ("mmap", "munmap"):
        return f'op = "{op}", map = "{mapping}"'
    what = f', value = "{value}"' if op == "host_write" else ""
    return f'op = "{op}", map = "{mapping}"{what}, {part_of(draw, world.maps[mapping])}'


def wide_text(seed: int, number: int) -> str:
    """The scenario with this number of a seed, as the text of a file."""
    draw = random.Random(f"gmemsim lab wide {seed} {number}")
    world = _world(draw)
    vms = draw.sample(world.vms, len(world.vms))
    kinds = draw.choice(
        (("vcpu", "host"), ("vcpu", "host"), ("host", "host"), ("vcpu", "vcpu"), ("vcpu", "host", "host"))
    )
    lines = [
        "[scenario]",
        f'name = "wide-{seed}-{number}"',
        'summary = "drawn at random, two of something"',
        'vm_types = ["default"]',
        *world.lines,
    ]
    if draw.random() < 0.3:
        file = draw.choice(list(world.files))
        filled = f'op = "allocate", file = "{file}", {part_of(draw, world.files[file])}'
        lines += ["[setup]", f"ops = [{{ {filled} }}]"]
    # vCPUs are called so by their tasks' order.
    names = [f"{kind}{kinds[:position].count(kind)}" for position, kind in enumerate(kinds)]
    guests = 0
    for position, kind in enumerate(kinds):
        count = 1 if position and len(kinds) == 3 else draw.randint(1, 2)
        lines.append("[[task]]")
        other = names[(position + 1) % len(kinds)]
        if kind == "vcpu":
            vm, slots = vms[guests % len(vms)]
            guests += 1
            lines += ['role = "vcpu"', f'vm = "{vm}"']
            ops = [_guest_op(draw, world, slots, names[position]) for _ in range(count)]
        else:
            lines.append(f'name = "{names[position]}"')
            ops = [_host_op(draw, world, names[position], other) for _ in range(count)]
        lines.append(f"ops = [{', '.join('{ ' + op + ' }' for op in ops)}]")
    return "\n".join((*lines, ""))


def wide(seed: int, number: int) -> Scenario:
    """The scenario with this number of a seed."""
    return loads(wide_text(seed, number), f"wide-{seed}-{number}")
