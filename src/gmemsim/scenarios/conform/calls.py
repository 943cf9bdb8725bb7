"""Calls of a vector as operations of scenarios: files, slots, the VM, processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...actors.errno import ENOENT, errno_name
from ...actors.memslots import KVM_USER_MEM_SLOTS
from ...patches.inplace_content import PRESERVE, ZERO, InplaceContent
from .. import ops
from ..ops_calls import RawRegion
from ..tables import File, Map, Slot
from ..units import PAGE
from . import arguments as a
from .content import text, whole
from .registry import op
from .results import Got
from .rig import MAPPED, WALKED, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

#: Bits of the flags word of a file that have a name.
_FLAG_BITS: Final = {1: "MMAP", 2: "INIT_SHARED"}
#: Content modes, by the vectors' names.
_MODES: Final = {"zero": ZERO, "preserve": PRESERVE, "unspecified": 0}
_PRIVATE: Final = 8


# -- files ---------------------------------------------------------------------------------------


@op(a.Create)
async def create(rig: Rig, t: Task, step: Step, args: a.Create) -> Got:
    flags: set[str] = set(args.flags)
    flags |= {
        _FLAG_BITS.get(1 << bit, f"{1 << bit:#x}")
        for bit in range(args.raw_flags.bit_length())
        if args.raw_flags >> bit & 1
    }
    row = File(args.made, 0, frozenset(flags), rig.vm(step.actor).label, False, ())
    outcome = (await rig.do(t, step.actor, ops.Create(size=args.size, file=row.id), file=row)).outcome
    if outcome == "ok":
        rig.files[row.id] = row
        rig.inodes[row.id] = rig.machine.inodes[-1]
    return Got(outcome)


def _call(kind: type[Any], make: Callable[[Any], ops.Op]) -> None:
    """An operation on a file that is one of scenarios, and comes to what that does."""

    @op(kind)
    async def call(rig: Rig, t: Task, step: Step, args: Any) -> Got:
        return Got((await rig.do(t, step.actor, make(args), file=args.gmem)).outcome)


_call(a.Close, lambda args: ops.Close(file=args.gmem))
_call(a.Read, lambda args: ops.FileRead(offset=args.offset, length=args.len))
_call(a.Pread, lambda args: ops.FileRead(offset=args.offset, length=args.len, positioned=True))
_call(a.Pwrite, lambda args: ops.FileWrite(value="", offset=args.offset, length=args.len, positioned=True))
_call(a.Ftruncate, lambda args: ops.Ftruncate(file=args.gmem, size=args.size))
_call(a.Ioctl, lambda args: ops.FileIoctl(file=args.gmem))


@op(a.Stat)
async def stat(rig: Rig, t: Task, step: Step, args: a.Stat) -> Got:
    outcome = await rig.do(t, step.actor, ops.Stat(file=args.gmem), file=args.gmem)
    return Got("value" if outcome.outcome == "ok" else outcome.outcome, None, dict(outcome.facts))


@op(a.Write)
async def write(rig: Rig, t: Task, step: Step, args: a.Write) -> Got:
    """Whole pages where a version has the call; all others refuse any range."""
    made = ops.FileWrite(value=text(whole(args.value)), offset=args.offset, length=args.len)
    outcome = await rig.do(t, step.actor, made, file=args.gmem)
    if outcome.outcome not in ("ok", "short"):
        return Got(outcome.outcome)
    if args.offset % PAGE or args.len % PAGE:
        raise Unsupported("write of parts of pages")
    return Got("ok", None, {"processed": int(outcome.values[0]) * PAGE})


@op(a.Fallocate)
async def fallocate(rig: Rig, t: Task, step: Step, args: a.Fallocate) -> Got:
    row = rig.file(args.gmem)
    more: Any = tuple(mode for mode in args.mode if mode not in ("KEEP_SIZE", "PUNCH_HOLE"))
    punch = "PUNCH_HOLE" in args.mode
    rig.bounded(min(args.len, rig.inodes[row.id].pages * PAGE), MAPPED if punch else WALKED)
    made = (ops.Punch if punch else ops.Allocate)(
        offset=args.offset, length=args.len, keep_size="KEEP_SIZE" in args.mode, modes=more
    )
    return Got((await rig.do(t, step.actor, made, file=row)).outcome)


@op(a.PunchHole)
async def punch_hole(rig: Rig, t: Task, step: Step, args: a.PunchHole) -> Got:
    mode: Any = ("PUNCH_HOLE", "KEEP_SIZE")
    return await fallocate(
        rig, t, step, a.Fallocate(gmem=args.gmem, offset=args.offset, len=args.len, mode=mode)
    )


@op(a.Mmap)
async def mmap(rig: Rig, t: Task, step: Step, args: a.Mmap) -> Got:
    """`aligned_to` is where the selftest asked for the mapping to be; the model's mappings have no address."""
    row = Map(args.made, rig.file(args.gmem).id, rig.process(step.actor), None, 0, 0, False, ())
    made = ops.Mmap(map=row.id, shared=args.share == "shared", offset=args.offset, length=args.len)
    outcome = (await rig.do(t, step.actor, made, mapping=row)).outcome
    if outcome == "ok":
        rig.maps[row.id] = row
    return Got(outcome)


@op(a.ErrorInject)
async def error_inject(rig: Rig, t: Task, step: Step, args: a.ErrorInject) -> Got:
    """A hardware error in the page at `offset`: the process gets SIGBUS if it is to be killed early and maps it.

    With policy `early` every process that maps the page is killed at once; madvise injects into the caller's own
    access, which is one that maps it. Otherwise the signal comes with the next access.
    """
    row, index = rig.file(args.gmem), args.offset // PAGE
    inode = rig.inodes[row.id]
    folio = inode.folios.get(index)
    if folio is None and args.method == "fd_ioctl_rfc":
        return Got(errno_name(ENOENT))
    mapped = any(index in mapping.mapped for mapping in inode.mappings)
    outcome = (await rig.do(t, step.actor, ops.MemoryFailure(), index, index + 1, file=row)).outcome
    if outcome == "EBADF":
        return Got(outcome)
    if folio is not None:
        rig.poisoned.append((inode, folio))
    early = args.kill_policy == "early" or args.method == "madvise"
    # A clean page can be had again from its file, so nobody needs to die for it.
    kills = mapped and early and args.dirty
    return Got("SIGBUS" if kills else "ok", None, {"memory_failure_rc": 0 if outcome == "ok" else outcome})


@op(a.Unpoison)
async def unpoison(rig: Rig, t: Task, step: Step, args: a.Unpoison) -> Got:
    if not rig.poisoned:
        raise Unsupported("unpoison of anything but the last page")
    inode, folio = rig.poisoned.pop()
    if folio.mapping is inode:
        # The page is still in the file, where the model has no way back.
        raise Unsupported("unpoison of a page that is in a file")
    return Got("ok")


@op(a.Convert)
async def convert(rig: Rig, t: Task, step: Step, args: a.Convert) -> Got:
    row = rig.file(args.gmem)
    rig.bounded(min(args.len, rig.inodes[row.id].pages * PAGE), MAPPED)
    flags = args.flags
    if args.mode:
        names = args.mode.split("+")
        if not isinstance(rig.kernel, InplaceContent) or set(names) - set(_MODES):
            raise Unsupported(f"mode {args.mode!r}")
        flags |= sum(_MODES[name] for name in names)
    made = ops.SetFileAttributes(
        private=args.to == "private",
        offset=args.offset,
        length=args.len,
        flags=flags,
        attributes=args.raw_attributes,
        reserved=args.reserved,
        bad_pointer=args.bad_argument_pointer,
    )
    outcome = await rig.do(t, step.actor, made, file=row)
    more = {"error_offset": int(outcome.values[0]) * PAGE} if outcome.values else {}
    return Got(outcome.outcome, None, more)


# -- slots ---------------------------------------------------------------------------------------


@op(a.Bind)
async def bind(rig: Rig, t: Task, step: Step, args: a.Bind) -> Got:
    return await _bind(rig, t, step, args, args.gmem, args.gmem_offset)


@op(a.BindV1)
async def bind_v1(rig: Rig, t: Task, step: Step, args: a.BindV1) -> Got:
    return await _bind(rig, t, step, args, None, 0)


async def _bind(rig: Rig, t: Task, step: Step, args: a.BindV1, gmem: str | int | None, offset: int) -> Got:
    number = KVM_USER_MEM_SLOTS if isinstance(args.slot, str) else args.slot
    v1, userspace = not isinstance(args, a.Bind), args.userspace_addr
    file, other_file = None, False
    if "GUEST_MEMFD" in args.flags and isinstance(gmem, str) and args.size:
        name = gmem.removeprefix("file:")
        if name == gmem:
            file = rig.file(gmem).id
        elif name not in ("closed", "bad", "none"):
            other_file = True
            if name not in rig.setup.foreign_files:
                raise Unsupported(f"no foreign file {name!r}")
    shows = f"user{number}" if v1 or (isinstance(userspace, int) and userspace) else str(userspace or "none")
    own = shows == "separate" or v1
    slot = Slot(
        number, rig.vm(step.actor).label, args.gpa // PAGE, args.size // PAGE, file, offset // PAGE,
        "none" if not args.size else f"slot{number}" if shows == "separate" else shows,
        frozenset(args.flags), False, (), 0 if own else offset // PAGE,
    )  # fmt: skip
    raw = RawRegion(
        address=args.gpa,
        size=args.size,
        offset=offset,
        userspace_addr=userspace if isinstance(userspace, int) else 0,
        flags=tuple(args.flags),
        other_file=other_file,
        v1=v1,
    )
    outcome = (await rig.do(t, step.actor, ops.Bind(slot=number, raw=raw), slot=slot)).outcome
    if outcome == "ok" and "READONLY" in args.flags and args.size:
        raise Unsupported("read-only slots of ordinary memory")
    return Got(outcome)


@op(a.Unbind)
async def unbind(rig: Rig, t: Task, step: Step, args: a.Unbind) -> Got:
    slot = Slot(args.slot, rig.vm(step.actor).label, 0, 0, None, 0, "none", frozenset(), False, ())
    return Got((await rig.do(t, step.actor, ops.Unbind(slot=args.slot), slot=slot)).outcome)


@op(a.VmClose)
async def vm_close(rig: Rig, t: Task, step: Step, args: a.VmClose) -> Got:
    """The VM's descriptor is closed; a file keeps the VM alive, so nothing happens to open ones."""
    if not rig.machine.files:
        raise Unsupported("closing the last reference of a VM")
    return Got("ok")


# -- the VM --------------------------------------------------------------------------------------


@op(a.CheckCap)
async def check_cap(rig: Rig, t: Task, step: Step, args: a.CheckCap) -> Got:
    outcome = await rig.do(t, step.actor, ops.CheckExtension(extension=args.cap))
    return Got("value", outcome.facts["value"])


@op(a.SetAttributes)
async def set_attributes(rig: Rig, t: Task, step: Step, args: a.SetAttributes) -> Got:
    rig.bounded(args.len)
    word = sum(_PRIVATE if name == "PRIVATE" else 1 << int(name[3:]) for name in set(args.attributes))
    made = ops.SetAttributes(
        private=bool(word & _PRIVATE), address=args.gpa, size=args.len, flags=args.flags, attributes=word
    )
    return Got((await rig.do(t, step.actor, made)).outcome)


@op(a.LaunchFinish)
async def launch_finish(rig: Rig, t: Task, step: Step, args: a.LaunchFinish) -> Got:
    return Got((await rig.do(t, step.actor, ops.LaunchFinish())).outcome)


@op(a.Populate)
async def populate(rig: Rig, t: Task, step: Step, args: a.Populate) -> Got:
    """KVM_SEV_SNP_LAUNCH_UPDATE or KVM_TDX_INIT_MEM_REGION; the former takes a short count for no error."""
    vm = rig.vm(step.actor)
    if vm.arch.name not in ("snp", "tdx") and not args.bad_argument_pointer:
        raise Unsupported(f"populate on VM type {vm.arch.name}")
    rig.bounded(args.len if args.len % PAGE == 0 and args.gpa + args.len < 1 << 64 else 0)
    made = ops.Populate(
        source=None if args.source is None else text(whole(args.source)),
        offset=PAGE // 2 if args.source is not None and args.source_misaligned else 0,
        type=args.type,
        flags=args.flags,
        address=args.gpa,
        size=args.len,
        bad_pointer=args.bad_argument_pointer,
    )
    outcome = await rig.do(t, step.actor, made)
    more = {}
    if "done" in outcome.facts:
        done = outcome.facts["done"] * PAGE
        # What the command writes back into its argument.
        more = {"remaining_len": args.len - done, "processed": done // PAGE, "remaining_gpa": args.gpa + done}
    return Got("ok" if outcome.outcome == "short" else outcome.outcome, None, more)


@op(a.ZapStage2)
async def zap_stage2(rig: Rig, t: Task, step: Step, args: a.ZapStage2) -> Got:
    made = ops.Zap(gfn=args.gpa // PAGE)
    return Got((await rig.do(t, step.actor, made, args.gpa // PAGE, (args.gpa + args.len) // PAGE)).outcome)


# -- processes -----------------------------------------------------------------------------------


@op(a.Fork)
async def fork(rig: Rig, t: Task, step: Step, args: a.Fork) -> Got:
    if rig.machine.children:
        raise Unsupported("more than one child")
    return Got((await rig.do(t, step.actor, ops.Fork(process=args.made))).outcome)


@op(a.Exit)
async def leave(rig: Rig, t: Task, step: Step, args: a.Exit) -> Got:
    if step.actor not in rig.machine.children:
        raise Unsupported(f"exit of {step.actor}")
    return Got((await rig.do(t, step.actor, ops.Exit())).outcome)


@op(a.SignalPending)
async def signal_pending(rig: Rig, t: Task, step: Step, args: a.SignalPending) -> Got:
    return Got((await rig.do(t, step.actor, ops.SignalPending())).outcome)


@op(a.Yield)
async def yield_(rig: Rig, t: Task, step: Step, args: a.Yield) -> Got:
    """A turn of the scheduler: every order of the branches is tried in any case."""
    await t.point(rig.others.turn)
    return Got("ok")
