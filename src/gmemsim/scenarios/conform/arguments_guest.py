"""Arguments of what a guest does, and of the calls on its memory; see `arguments`."""

from __future__ import annotations

from typing import Literal

from .argument_types import Access, Args, Attribute, Byte, Length, Place, Rounds, State

__all__ = [
    "Convert",
    "EventCount",
    "GetState",
    "GuestRead",
    "GuestReadLoop",
    "GuestWrite",
    "GuestWriteLoop",
    "LaunchFinish",
    "MapGpa",
    "Populate",
    "PreFault",
    "Resume",
    "SetAttributes",
    "Stage2Mapped",
    "ZapStage2",
]


class GuestRead(Args, frozen=True, kw_only=True):
    """Loads by a vCPU."""

    gpa: Place
    len: Length
    access: Access = "auto"


class GuestWrite(Args, frozen=True, kw_only=True):
    """Stores of equal bytes by a vCPU."""

    gpa: Place
    len: Length
    value: Byte
    access: Access = "auto"


class GuestReadLoop(Args, frozen=True, kw_only=True):
    """Loads until an access leaves the guest, or `count` times."""

    gpa: Place
    len: Length
    access: Access = "auto"
    count: Rounds | None = None


class GuestWriteLoop(Args, frozen=True, kw_only=True):
    """Stores until an access leaves the guest, or `count` times."""

    gpa: Place
    len: Length
    value: Byte
    access: Access = "auto"
    count: Rounds | None = None


class Resume(Args, frozen=True, kw_only=True):
    """KVM_RUN again after an exit: the access completes."""


class MapGpa(Args, frozen=True, kw_only=True):
    """KVM_HC_MAP_GPA_RANGE."""

    gpa: int
    len: int
    to: State


class PreFault(Args, frozen=True, kw_only=True):
    """KVM_PRE_FAULT_MEMORY."""

    gpa: int
    size: int
    flags: int = 0
    bad_argument_pointer: bool = False


# -- the VM --------------------------------------------------------------------------------------


class SetAttributes(Args, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES."""

    gpa: int
    len: int
    attributes: tuple[Attribute, ...]
    flags: int = 0


class Convert(Args, frozen=True, kw_only=True):
    """KVM_SET_MEMORY_ATTRIBUTES2 on the file. `raw_attributes` and `reserved` are words of its argument."""

    gmem: str
    offset: int
    len: int
    to: State
    raw_attributes: int | None = None
    flags: int = 0
    reserved: tuple[int, ...] = ()
    bad_argument_pointer: bool = False
    mode: str = ""


class GetState(Args, frozen=True, kw_only=True):
    """A probe of the file's map."""

    gmem: str
    offset: Place
    len: Length


class Populate(Args, frozen=True, kw_only=True):
    """KVM_SEV_SNP_LAUNCH_UPDATE, KVM_TDX_INIT_MEM_REGION. `source` null is a NULL pointer, `bogus` no page type."""

    gpa: int
    len: int
    source: Byte | None
    type: Literal["normal", "vmsa", "zero", "unmeasured", "secrets", "cpuid", "bogus"] = "normal"
    flags: int = 0
    source_misaligned: bool = False
    bad_argument_pointer: bool = False


class LaunchFinish(Args, frozen=True, kw_only=True):
    """KVM_SEV_SNP_LAUNCH_FINISH, KVM_TDX_FINALIZE_VM."""


class ZapStage2(Args, frozen=True, kw_only=True):
    """Drop the guest's mappings of a range, as an invalidation of unrelated cause would."""

    gpa: Place
    len: Length


class Stage2Mapped(Args, frozen=True, kw_only=True):
    """Whether a page of the guest is mapped."""

    gpa: Place


class EventCount(Args, frozen=True, kw_only=True):
    """Events of the log so far, of a guest address or of an offset of a file (the only one if none is named)."""

    event: Literal["arch_prepare_called", "rmp_make_private", "arch_make_shared", "folio_cleared"]
    gpa: Place | None = None
    gmem: str | None = None
    offset: Place | None = None
