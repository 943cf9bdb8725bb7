"""Operations on host mappings, hardware memory errors, and NUMA policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.errno import EFAULT, EINVAL, ENOENT, ENOMEM, errno_name
from ...actors.inode import HostMapping
from ..units import PAGE
from . import arguments
from .content import read_bytes, write_bytes
from .registry import from_errno, op
from .results import Got
from .rig import Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...actors.memslot import UserMemory
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

__all__ = ["pieces"]


def pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """(page, first byte, end byte) of each page that [offset, offset + length) touches."""
    end = offset + length
    while offset < end:
        page = offset // PAGE
        until = min(end, (page + 1) * PAGE)
        yield page, offset - page * PAGE, until - page * PAGE
        offset = until


async def _access(rig: Rig, t: Task, mapping: HostMapping | UserMemory, page: int, value: str | None) -> str:
    if isinstance(mapping, HostMapping):
        return await rig.kernel.host_access(t, mapping, mapping.start + page, value)
    pfn = rig.frame(mapping, page)
    if value is not None:
        rig.memory.write(pfn, value)
    return rig.memory.read(pfn)


@op(arguments.HostRead)
async def host_read(rig: Rig, t: Task, step: Step, args: arguments.HostRead) -> Got:
    mapping = rig.mapping(args.map, step.actor)
    found: set[int | None] = set()
    for page, start, end in pieces(args.offset, args.len):
        seen = await _access(rig, t, mapping, page, None)
        if seen in ("SIGBUS", "SIGSEGV", "oom"):
            return Got(seen)
        found |= read_bytes(seen, start, end)
    return Got("value", found)


@op(arguments.HostWrite)
async def host_write(rig: Rig, t: Task, step: Step, args: arguments.HostWrite) -> Got:
    mapping = rig.mapping(args.map, step.actor)
    for page, start, end in pieces(args.offset, args.len):
        token = ""
        if end - start < PAGE:
            # Part of a page: what the rest of it holds must not change.
            token = await _access(rig, t, mapping, page, None)
            if token in ("SIGBUS", "SIGSEGV", "oom"):
                return Got(token)
        seen = await _access(rig, t, mapping, page, write_bytes(token, start, end, args.value))
        if seen in ("SIGBUS", "SIGSEGV", "oom"):
            return Got(seen)
    return Got("ok")


@op(arguments.Mmap)
async def mmap(rig: Rig, t: Task, step: Step, args: arguments.Mmap) -> Got:
    ret = await rig.mmap(t, step.actor, args.made, args.gmem, args.offset, args.len, args.share)
    # `aligned_to` is where the selftest asked for the mapping to be; the model's mappings have no address.
    return from_errno(ret)


@op(arguments.Munmap)
async def munmap(rig: Rig, t: Task, step: Step, args: arguments.Munmap) -> Got:
    mapping = rig.mapping(args.map, step.actor)
    if isinstance(mapping, HostMapping):
        await rig.kernel.munmap(t, mapping)
    return Got("ok")


@op(arguments.Madvise)
async def madvise(rig: Rig, t: Task, step: Step, args: arguments.Madvise) -> Got:
    mapping = rig.mapping(args.map, step.actor)
    if not isinstance(mapping, HostMapping):
        raise Unsupported("madvise of ordinary memory")
    if args.offset % PAGE or args.len < 0:
        return from_errno(EINVAL)
    gone = mapping not in mapping.inode.mappings
    if gone or args.offset < 0 or args.offset + args.len > mapping.pages * PAGE:
        return from_errno(ENOMEM)
    if args.advice == "HUGEPAGE":
        # A flag of the mapping; without collapse nothing asks for it.
        return Got("ok")
    if args.advice == "COLLAPSE":
        return from_errno(rig.kernel.madvise_collapse(mapping))
    first, end = args.offset // PAGE, -(-(args.offset + args.len) // PAGE)
    await rig.kernel.madvise_dontneed(t, mapping, mapping.start + first, mapping.start + end)
    return Got("ok")


@op(arguments.Pin)
async def pin(rig: Rig, t: Task, step: Step, args: arguments.Pin) -> Got:
    mapping = rig.mapping(args.map, step.actor)
    if not isinstance(mapping, HostMapping):
        raise Unsupported("pins of ordinary memory")
    for page, _, _ in pieces(args.offset, args.len):
        folio = await rig.kernel.pin_user_page(t, mapping, mapping.start + page)
        if isinstance(folio, int):
            return from_errno(folio)
        rig.pins.setdefault((args.map, page), []).append((mapping.inode, folio))
    return Got("ok")


@op(arguments.Unpin)
async def unpin(rig: Rig, t: Task, step: Step, args: arguments.Unpin) -> Got:
    for page, _, _ in pieces(args.offset, args.len):
        held = rig.pins.get((args.map, page))
        if not held:
            return from_errno(EINVAL)
        await rig.kernel.unpin_user_page(t, *held.pop())
    return Got("ok")


@op(arguments.ErrorInject)
async def error_inject(rig: Rig, t: Task, step: Step, args: arguments.ErrorInject) -> Got:
    """A hardware error in the page at `offset`: the process gets SIGBUS if it is to be killed early and maps it.

    With policy `early` every process that maps the page is killed at once; madvise injects into the caller's own
    access, which is one that maps it. Otherwise the signal comes with the next access.
    """
    inode = rig.file(args.gmem, step.actor).inode
    index = args.offset // PAGE
    folio = inode.folios.get(index)
    if folio is None and args.method == "fd_ioctl_rfc":
        return from_errno(ENOENT)
    mapped = any(index in mapping.mapped for mapping in inode.mappings)
    ret = await rig.kernel.memory_failure(t, inode, index)
    if folio is not None:
        rig.poisoned.append((inode, folio))
    early = args.kill_policy == "early" or args.method == "madvise"
    # A clean page can be had again from its file, so nobody needs to die for it.
    kills = mapped and early and args.dirty
    return Got("SIGBUS" if kills else "ok", None, {"memory_failure_rc": errno_name(ret) if ret else 0})


@op(arguments.Unpoison)
async def unpoison(rig: Rig, t: Task, step: Step, args: arguments.Unpoison) -> Got:
    if not rig.poisoned:
        raise Unsupported("unpoison of anything but the last page")
    inode, folio = rig.poisoned.pop()
    if folio.mapping is inode:
        # The page is still in the file, where the model has no way back.
        raise Unsupported("unpoison of a page that is in a file")
    return Got("ok")


@op(arguments.Mbind)
async def mbind(rig: Rig, t: Task, step: Step, args: arguments.Mbind) -> Got:
    mapping = rig.mapping(args.map, step.actor)
    if not isinstance(mapping, HostMapping):
        raise Unsupported("policy of ordinary memory")
    if mapping not in mapping.inode.mappings:
        return from_errno(EFAULT)
    if any(node >= rig.setup.numa_nodes for node in args.nodes):
        return from_errno(EINVAL)
    first = mapping.start + args.offset // PAGE
    end = mapping.start + -(-(args.offset + args.len) // PAGE)
    ret = await rig.kernel.mbind(t, mapping, first, end, args.policy, tuple(args.nodes))
    return from_errno(ret)


@op(arguments.GetMempolicy)
async def get_mempolicy(rig: Rig, t: Task, step: Step, args: arguments.GetMempolicy) -> Got:
    mapping = rig.mapping(args.map, step.actor)
    if not isinstance(mapping, HostMapping):
        raise Unsupported("policy of ordinary memory")
    if mapping not in mapping.inode.mappings:
        return from_errno(EFAULT)
    index = mapping.start + args.offset // PAGE
    policy, nodes = await rig.kernel.get_mempolicy(t, mapping, index)
    return Got("value", None, {"policy": policy, "nodes": list(nodes)})


@op(arguments.MovePagesQuery)
async def move_pages_query(rig: Rig, t: Task, step: Step, args: arguments.MovePagesQuery) -> Got:
    """The node of each page, or the errno that stands in its place."""
    mapping = rig.mapping(args.map, step.actor)
    if not isinstance(mapping, HostMapping):
        raise Unsupported("placement of ordinary memory")
    nodes = [await rig.kernel.page_node(t, mapping, mapping.start + place // PAGE) for place in args.offsets]
    return Got("value", nodes, {"nodes": nodes})
