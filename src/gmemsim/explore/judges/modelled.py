"""Which operations the model of a page (`page_model`) knows, and which it looks away from."""

from __future__ import annotations

from typing import Final

from ...scenarios import ops
from ...scenarios.own import is_own

CONVERSIONS: Final = (ops.Convert, ops.SetAttributes, ops.SetFileAttributes, ops.Hypercall)
#: Operations that `linearizability` knows the effect of, and those that change no page and see none. Where there is any
#: other (a slot is bound anew, say), the model has nothing to say of the files: pages could change without a reason.
MODELLED: Final = (
    ops.Touch, ops.Read, ops.Write, ops.HostTouch, ops.HostRead, ops.HostWrite, ops.Punch, ops.Allocate, ops.Accept,
    ops.Prefault, ops.Pin, *CONVERSIONS,
)  # fmt: skip
NO_EFFECT: Final = (
    ops.Barrier, ops.CheckExtension, ops.Collapse, ops.FileIoctl, ops.FileRead, ops.Fork, ops.Ftruncate,
    ops.GetMempolicy, ops.LaunchFinish, ops.Madvise, ops.Mbind, ops.Migrate, ops.Mmap, ops.MovePages, ops.Munmap,
    ops.NxHugePages, ops.Signal, ops.SignalPending, ops.Sleep, ops.Stat, ops.Unpin, ops.Zap,
)  # fmt: skip


def is_beyond(op: ops.Op) -> bool:
    """Whether it may do to pages what is not modelled here."""
    if type(op) not in MODELLED + NO_EFFECT or is_own(op):
        return True
    # The other half of a slot with two sources; a word in place of the kind.
    return getattr(op, "buffer", None) is not None or getattr(op, "attributes", None) is not None
