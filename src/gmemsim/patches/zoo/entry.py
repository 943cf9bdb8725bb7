"""What is known about one seeded bug, and the class that has it.

Titles, origins and sources are those of `bugs.json`, our catalogue of real bugs of guest_memfd and its neighbours; an
entry here adds the variant: a small subclass of a patch version, or of a lock, that does what the bug did.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..entry import Entry

if TYPE_CHECKING:
    from ...actors.kernel import Kernel

Make = Callable[["type[Kernel]"], "type[Kernel]"]


@attrs.frozen(kw_only=True)
class Bug(Entry):
    """One entry of the zoo. It names its scenario: patches know no scenario.

    Attributes:
        origin: `shipped-bug`, `review-found`, `guard-mutant`, `source-derived` or `documented-benign`.
        versions: that it is seeded into.
        why_not: why there is no variant; empty if there is one.
        family: what it is about.
        source: commit, message or document that tells of it.
        make: from a patch version to a subclass with the bug; for a benign entry, the version as it is.
        control: from a patch version to what must be clean; default: the version as it is.
        policy: lock class with the bug, for bugs of the lock itself; searched in a small program of readers and
            writers that can be interrupted, against `sound`, the lock without it.
        scenario: name of the scenario that a user would write.
        rules: any of these is the bug; empty for a benign entry, which must give none.
        options: more keywords for `explore.program.ScenarioProgram`.
        unfound: why the variant is not found by searches here; empty if it is.
    """

    versions: tuple[str, ...] = ("v3",)
    vm_types: tuple[str, ...] = ("sw-protected",)
    family: str
    source: str
    make: Make | None = None
    control: Make | None = None
    policy: Any = None
    sound: Any = None
    scenario: str = ""
    rules: frozenset[str] = frozenset()
    options: dict[str, Any] = attrs.field(factory=dict)
    unfound: str = ""

    def __attrs_post_init__(self) -> None:
        if bool(self.make or self.policy) == bool(self.why_not):
            raise ValueError(f"{self.name}: either a variant or a reason why there is none")

    @property
    def expressible(self) -> bool:
        """Whether there is something to run."""
        return not self.why_not

    @property
    def summary(self) -> str:
        """For `gmemsim list bugs`."""
        return f"{self.title} ({self.origin}{'' if self.expressible else '; not expressed'})"


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """Everything that the catalogue says of each bug, by id."""
    text = (Path(__file__).parent / "bugs.json").read_text(encoding="utf-8")
    return {entry["id"]: entry for entry in json.loads(text)}


def bug(ident: str, *, rules: str = "", **fields: Any) -> Bug:
    """The entry of that id with a variant; `rules` are names with spaces between them."""
    known = catalogue()[ident]
    return Bug(
        name=ident,
        title=known["title"],
        origin=known["origin"],
        family=known["family"],
        source=known["source"],
        rules=frozenset(rules.split()),
        **fields,
    )


def missing(ident: str, why: str) -> Bug:
    """The entry of that id, which has no variant."""
    return bug(ident, why_not=why)
