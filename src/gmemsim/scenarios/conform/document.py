"""The shape of a vector: its tables as structs, and the one place where a JSON object is held against them.

A value of the wrong type is an error of the file. A key or a word that nobody knows is none: the vector asks for
something that the runner does not have, and is *unsupported*.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta
from msgspec.structs import fields

from ...bad_input import BadInput

_S = TypeVar("_S", bound=msgspec.Struct)

#: msgspec's names of JSON types, in words.
_WORDS: Final = {
    "int": "an integer", "str": "a string", "bool": "true or false", "float": "a number with a point",
    "object": "an object", "array": "a list", "null": "null",
}  # fmt: skip


class VectorError(BadInput):
    """A file or line that is no vector; the message is one line for the user."""


class Applies(msgspec.Struct, frozen=True, kw_only=True):
    """Versions and VM types, in the vectors' own names (`sw_protected`)."""

    versions: Annotated[tuple[str, ...], Meta(min_length=1)]
    vm_types: Annotated[tuple[str, ...], Meta(min_length=1)]


Release = Annotated[str, Meta(pattern=r"^v?[0-9]{1,3}(\.[0-9]{1,4}){0,3}$")]


class Kernels(msgspec.Struct, frozen=True, kw_only=True):
    """Releases to which the vector applies, beyond that."""

    min: Release | None = None
    below: Release | None = None


class Gmem(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the setup."""

    id: str
    size: int
    flags: tuple[str, ...] = ()
    huge_page_size: int | None = None
    vm: str = "vm0"


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A memslot of the setup."""

    slot: int
    gpa: int
    size: int
    userspace: str
    flags: tuple[str, ...]
    gmem: str | None = None
    gmem_offset: int = 0


class MapTable(msgspec.Struct, frozen=True, kw_only=True):
    """A host mapping of the setup."""

    id: str
    gmem: str
    offset: int
    len: int
    share: Literal["shared", "private"] = "shared"
    prot: Literal["rw", "r"] = "rw"


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the module."""

    gmem_in_place_conversion: bool | None = None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is there before the first step."""

    page_size: Literal[4096] = 4096
    vcpus: Annotated[int, Meta(ge=0, le=4096)] = 0
    gmems: tuple[Gmem, ...] = ()
    slots: tuple[Slot, ...] = ()
    maps: tuple[MapTable, ...] = ()
    finalized: bool = True
    launch_started: bool = True
    vcpu_initialized: bool = True
    initial_state: Literal["private", "shared"] | None = None
    variant: Literal["content_modes_rfc_v5"] | None = None
    module_params: Params = Params()
    numa_nodes: Annotated[int, Meta(ge=1, le=64)] = 1
    vms: Annotated[tuple[str, ...], Meta(max_length=16)] = ("vm0",)
    foreign_files: tuple[str, ...] = ()


class Expect(msgspec.Struct, frozen=True, kw_only=True):
    """What a step comes to: the types of its keys. Which operation gives them a meaning is decided in `results`."""

    result: str
    value: Any = None
    value_not: int = 0
    any_of: tuple[str | Expect, ...] = ()
    likely_errno: str = ""
    inner_errno: str = ""
    error_offset: int = 0
    remaining_size: int = 0
    remaining_gpa: int = 0
    remaining_len: int = 0
    remaining_shrinks_iff: str = ""
    processed: int = 0
    flags: tuple[str, ...] = ()
    gpa: int = 0
    size: int = 0
    errno: str = ""
    phys_addr: int = 0
    is_write: bool = False
    len: int = 0
    st_size: int = 0
    st_blksize: int = 0
    save_ino: str = ""
    ino_same_as: str = ""
    ino_differs_from: str = ""
    state: str = ""
    to: str = ""
    policy: str = ""
    nodes: tuple[int, ...] = ()
    aligned_to: int = 0
    completes: Literal["the access that exited"] = "the access that exited"
    loop_until: Literal["done"] = "done"
    invariants: tuple[
        Literal[
            "every branch step meets its own expectation",
            "no branch sees another branch's bytes",
            "a host access that begins after a successful conversion returns gives SIGBUS",
        ],
        ...,
    ] = ()
    memory_failure_rc: str | int = 0
    memory_failure_rc_with_fix: str | int = 0


#: A thread of the VMM or of its child, or a vCPU; after `@`, the VM on whose behalf it acts.
Actor = Annotated[str, Meta(pattern="^(host[0-9]{0,3}|child|vcpu[0-9]{1,4})(@[A-Za-z0-9_]{1,20})?$")]


class StepTable(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of one actor; its `args` are decoded by its operation."""

    actor: Actor
    op: str
    expect: Expect
    args: dict[str, Any] = {}


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a file."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    evidence: str
    applies_to: Applies
    setup: dict[str, Any]
    steps: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)]
    family: str = ""
    area: str = ""
    source: Any = None
    notes: str = ""
    verified_on: tuple[str, ...] = ()
    kernels: dict[str, Any] = {}


def decode(document: Any, kind: type[_S], where: str, at: str) -> tuple[_S | None, list[str]]:
    """`document` as a `kind`, and what is in it that nobody knows; None if that leaves nothing to be used.

    Raises:
        VectorError: a value has the wrong type, is missing or is out of bounds; names the field below `at`.
    """
    strange = [f"key {key!r}" for key in _strange_keys(document, kind, at)]
    try:
        return msgspec.convert(document, kind), strange
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = f"{at}{path.rstrip('`')}".lstrip(".")
        if text.startswith("Invalid enum value") or "matching regex" in text:
            return None, [*strange, f"{_value_at(document, path)!r} as {field}"]
        place = f"{where}: field {field!r}" if field else where
        raise VectorError(f"{place}: {_in_words(text)}") from None


def _strange_keys(document: Any, kind: type[msgspec.Struct], at: str) -> Iterator[str]:
    """Keys at any depth that are no fields of their struct."""
    if not isinstance(document, dict):
        return
    known = _keys(kind)
    for key, value in document.items():
        if key not in known:
            yield f"{at}.{key}".lstrip(".")
            continue
        inner = known[key]
        if inner is not None:
            for number, item in enumerate(value if isinstance(value, list) else [value]):
                place = f"{at}.{key}[{number}]" if isinstance(value, list) else f"{at}.{key}"
                yield from _strange_keys(item, inner, place)


@cache
def _keys(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """The keys of a struct, and the struct of what each holds, if it has one."""
    return {field.encode_name: _struct_of(field.type) for field in fields(kind)}


def _struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct in a type, if there is one: `tuple[Gmem, ...]` holds `Gmem`."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next((found for part in get_args(annotation) if (found := _struct_of(part)) is not None), None)


def _value_at(document: Any, path: str) -> Any:
    """The value at a path of msgspec, `.gmems[0].flags[1]`."""
    for name, number in re.findall(r"\.([^.\[]+)|\[([0-9]+)\]", path.rstrip("`")):
        document = document[name] if name else document[int(number)]
    return document


def _in_words(text: str) -> str:
    """msgspec's message without its type names."""
    text = re.sub(r"`([^`]*)`", lambda found: " or ".join(map(_word, found[1].split(" | "))), text)
    return text[0].lower() + text[1:]


def _word(name: str) -> str:
    return _WORDS.get(name, name)
