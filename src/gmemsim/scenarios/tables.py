"""What a scenario declares (VMs, files, slots, mappings), checked against each other, defaults filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import attrs
import msgspec

from ..arch.choices import SnpChoices, TdxChoices
from .errors import ScenarioError
from .units import PAGE, size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .lines import Path
    from .model import Document, FileTable, MapTable, SlotTable, VmTable
    from .source import Source

FLAGS: Final = ("MMAP", "INIT_SHARED", "HUGETLB", "HUGETLB_2M", "HUGETLB_1G")
#: The process that all tasks are of unless they say otherwise.
VMM: Final = "vmm"
VM_TYPES: Final = ("default", "sw-protected", "snp", "tdx", "pkvm")

#: Open points of all arch actors; one that an actor does not have means nothing to it.
_OPEN_POINTS: Final = (SnpChoices, TdxChoices)
CHOICES: Final = tuple(sorted({field.name for cls in _OPEN_POINTS for field in attrs.fields(cls)}))

#: Pages of all files, of all slots and of all mappings together: 4 GiB each.
MOST_PAGES: Final = 1 << 20

K = TypeVar("K")
T = TypeVar("T")


@attrs.frozen
class File:
    """A guest_memfd. `flags` None: those of the VM type."""

    id: str
    pages: int
    flags: frozenset[str] | None
    vm: str
    absent: bool
    path: Path


@attrs.frozen
class Slot:
    """A memslot; `file` None: ordinary memory only. `userspace…`: see `SlotTable`. `flags`: without KVM_MEM_."""

    id: int
    vm: str
    gfn: int
    pages: int
    file: str | None
    start: int
    userspace: str
    flags: frozenset[str]
    absent: bool
    path: Path
    userspace_start: int = 0


@attrs.frozen
class Map:
    """A host mapping."""

    id: str
    file: str
    process: str
    each: str | None
    start: int
    pages: int
    absent: bool
    path: Path

    def label(self, owner: str) -> str:
        """Name of the mapping in the log: its own, or that of the owner's copy."""
        return self.id if self.each is None else f"{self.id}.{owner}"


@attrs.frozen
class Tables:
    """Everything declared, by id, in the order of the file."""

    source: Source
    vms: dict[str, VmTable]
    files: dict[str, File]
    slots: dict[int, Slot]
    maps: dict[str, Map]

    @property
    def own_types(self) -> tuple[str, ...]:
        """VM types of the VMs, each once; empty if the type of one is left open."""
        types = [vm.type for vm in self.vms.values()]
        return () if None in types else tuple(dict.fromkeys(filter(None, types)))

    def first_slot(self, vm: str) -> Slot | None:
        """The slot that operations of a VM mean by default: the first with guest_memfd, else the first."""
        slots = [slot for slot in self.slots.values() if slot.vm == vm]
        return next((slot for slot in slots if slot.file is not None), slots[0] if slots else None)


def resolve_tables(source: Source, document: Document) -> Tables:
    """Check and complete the declarations.

    Raises:
        ScenarioError: an id given twice or never declared, a size that is none, a range outside its file.
    """
    from .model import VmTable

    for position, name in enumerate(document.scenario.vm_types):
        if name not in VM_TYPES:
            raise source.error(("scenario", "vm_types", position), _expected("VM type", name, VM_TYPES))
    vms = _by_id(source, "vm", document.vm or [VmTable()], lambda vm: vm.id)
    for position, vm in enumerate(document.vm):
        if vm.type is not None and vm.type not in VM_TYPES:
            raise source.error(("vm", position, "type"), _expected("VM type", vm.type, VM_TYPES))
        for name in vm.choices:
            if name not in CHOICES:
                raise source.error(("vm", position, "choices", name), _expected("choice", name, CHOICES))
            _check_choice(source, ("vm", position, "choices", name), name, vm.choices[name])
    tables = Tables(source, vms, {}, {}, {})
    for position, file in enumerate(_by_id(source, "file", document.file, lambda row: row.id).values()):
        tables.files[file.id] = _file(tables, ("file", position), file)
    for position, slot in enumerate(_by_id(source, "slot", document.slot, lambda row: row.id).values()):
        tables.slots[slot.id] = _slot(tables, ("slot", position), slot)
    for position, mapping in enumerate(_by_id(source, "map", document.map, lambda row: row.id).values()):
        tables.maps[mapping.id] = _map(tables, ("map", position), mapping)
    for made in tables.slots.values():
        if made.userspace in tables.maps:
            # KVM would watch that mapping; a buffer of the same name would be another thing than what was meant.
            raise source.error(
                (*made.path, "userspace"),
                f"{made.userspace!r} is a [[map]], and a slot's address lies in none of these; expected "
                '"gmem" (a mapping of its own of the slot\'s file), or a buffer by another name',
            )
    _bounded(tables)
    return tables


def _check_choice(source: Source, path: Path, name: str, value: object) -> None:
    """Its value is of the type that the actors have for it; of one name they agree."""
    hints = (get_type_hints(cls, include_extras=True) for cls in _OPEN_POINTS)
    kind = next(each[name] for each in hints if name in each)
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise source.error(path, f"{value!r}: expected {_kind(kind)}") from None


def _kind(kind: Any) -> str:
    words = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, words))
    if get_origin(kind) is frozenset:
        return f"a list of {_kind(words[0])}"
    return "a whole number of at least 1" if words and words[0] is int else "true or false"


def _bounded(tables: Tables) -> None:
    """The model has an object for every page: so many that one run fits into a small machine."""
    for things in (tables.files, tables.slots, tables.maps):
        left = MOST_PAGES
        for thing in things.values():
            left -= thing.pages
            if left < 0:
                raise tables.source.error(
                    (*thing.path, "pages"),
                    f"expected at most {MOST_PAGES:,} pages in all, got {thing.pages:,}",
                )


def _expected(what: str, got: object, known: Iterable[object]) -> str:
    names = ", ".join(str(name) for name in known)
    return f"no {what} {got!r}; expected one of: {names}" if names else f"no {what} {got!r}: none is declared"


def _by_id(source: Source, key: str, rows: Sequence[T], ident: Callable[[T], K]) -> dict[K, T]:
    found: dict[K, T] = {}
    for position, row in enumerate(rows):
        name = ident(row)
        if name in found:
            raise source.error((key, position, "id"), f"{name!r} is the id of another [[{key}]] already")
        found[name] = row
    return found


def _file(tables: Tables, path: Path, file: FileTable) -> File:
    source = tables.source
    vm = file.vm or next(iter(tables.vms))
    if vm not in tables.vms:
        raise source.error((*path, "vm"), _expected("vm", vm, tables.vms))
    if (file.size is None) == (file.pages is None):
        raise source.error(path, f"file {file.id} needs either size (bytes) or pages")
    pages = file.pages or 0
    if file.size is not None:
        try:
            size = size_bytes(file.size)
        except ValueError as error:
            raise source.error((*path, "size"), str(error)) from None
        if size <= 0 or size % PAGE:
            raise source.error((*path, "size"), f"expected a multiple of {PAGE} above 0, got {file.size!r}")
        pages = size // PAGE
    flags: frozenset[str] | None = None
    if not isinstance(file.flags, str):
        for position, flag in enumerate(file.flags):
            if flag not in FLAGS:
                raise source.error((*path, "flags", position), _expected("flag", flag, FLAGS))
        flags = frozenset(file.flags)
    return File(file.id, pages, flags, vm, file.absent, path)


def _slot(tables: Tables, path: Path, slot: SlotTable) -> Slot:
    source = tables.source
    file = None
    if slot.file is not None:
        file = tables.files.get(slot.file)
        if file is None:
            raise source.error((*path, "file"), _expected("file", slot.file, tables.files))
    vm = slot.vm or (file.vm if file else next(iter(tables.vms)))
    if vm not in tables.vms:
        raise source.error((*path, "vm"), _expected("vm", vm, tables.vms))
    if file is not None and vm != file.vm:
        raise source.error(
            (*path, "vm"), f"slot {slot.id} is in {vm}, but file {file.id} belongs to {file.vm}"
        )
    if file is None and slot.start:
        raise source.error((*path, "start"), "a slot without a file has no start in it")
    pages = slot.pages
    if pages is None:
        if file is None:
            raise source.error(path, f"slot {slot.id} has no file to take its size from: pages is missing")
        pages = file.pages - slot.start
    if file is not None:
        _inside(source, path, slot.start, pages, file)
    if file is None and slot.userspace == "gmem":
        raise source.error((*path, "userspace"), "a slot without a file cannot show it to userspace")
    given = {
        "GUEST_MEMFD": slot.file is not None,
        "READONLY": slot.readonly,
        "LOG_DIRTY_PAGES": slot.log_dirty,
    }
    flags = frozenset(name for name, wanted in given.items() if wanted)
    made = Slot(
        slot.id, vm, slot.gfn, pages, slot.file, slot.start, slot.userspace, flags, slot.absent, path,
        slot.userspace_start,
    )  # fmt: skip
    for other in tables.slots.values():
        if made.absent or other.absent:
            continue
        if other.vm == vm and other.gfn < slot.gfn + pages and slot.gfn < other.gfn + other.pages:
            raise source.error((*path, "gfn"), f"slots {other.id} and {slot.id} overlap in guest frames")
        same = file is not None and other.file == file.id
        if same and other.start < slot.start + pages and slot.start < other.start + other.pages:
            raise source.error((*path, "start"), f"slots {other.id} and {slot.id} overlap in {slot.file}")
    return made


def _map(tables: Tables, path: Path, mapping: MapTable) -> Map:
    source = tables.source
    name = mapping.file or next(iter(tables.files), None)
    if name is None:
        raise source.error(path, f"map {mapping.id} has no [[file]] to map")
    file = tables.files.get(name)
    if file is None:
        raise source.error((*path, "file"), _expected("file", name, tables.files))
    pages = mapping.pages or file.pages - mapping.start
    _inside(source, path, mapping.start, pages, file)
    if file.flags is not None and "MMAP" not in file.flags and not mapping.absent:
        raise source.error((*path, "file"), f"file {file.id} is not made with MMAP")
    return Map(mapping.id, file.id, mapping.process, mapping.each, mapping.start, pages, mapping.absent, path)


def _inside(source: Source, path: Path, start: int, pages: int, file: File) -> None:
    if pages <= 0 or start + pages > file.pages:
        key = "pages" if 0 <= start < file.pages else "start"
        raise source.error(
            (*path, key),
            f"pages {start} to {start + pages} are outside file {file.id}, which has {file.pages}",
        )


def unknown(tables: Tables, path: Path, what: str, got: object, known: Iterable[object]) -> ScenarioError:
    """The error for a reference to something that is not declared."""
    return tables.source.error(path, _expected(what, got, known))
