"""A finding: what versions of guest_memfd get wrong, how sure that is, and how to tell it in a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..failure import Failure
    from .pattern import Pattern

#: `confirmed`: seen on a kernel. `by reading`: the kernel's source has the steps. `refuted`: the kernel was tried, or
#: read, and does not do it. `fixed in`: it did once.
Kind = Literal["confirmed", "by reading", "refuted", "fixed in"]


@attrs.frozen
class State:
    """How sure it is, for some kernels.

    Attributes:
        kernels: releases (`7.3.4`) or series.
        why: how it was seen, what refutes it, which commit mended it; empty: the page tells.
    """

    kind: Kind
    kernels: tuple[str, ...]
    why: str = ""

    def text(self) -> str:
        """`confirmed on 6.18.15, 7.2.13`."""
        between = {"confirmed": " on ", "by reading": ": ", "refuted": " for ", "fixed in": " "}[self.kind]
        return f"{self.kind}{between}{', '.join(self.kernels)}"


@attrs.frozen(kw_only=True)
class Shown:
    """A scenario that shows it, and how it is searched for that.

    Attributes:
        scenario: name in the catalogue.
        vm_type: on which the search is done.
        schedules: within which it shows, in each version of the finding.
        versions: of the finding, on which this scenario shows it; empty: on all.
    """

    scenario: str
    vm_type: str
    strategy: str = "pos"
    schedules: int = 400
    versions: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Finding:
    """One of them.

    Attributes:
        ident: name; of its page too.
        title: what goes wrong, in one line.
        effect: what comes of it.
        versions: of the model, that have it.
        releases: where a version has it on some releases only; a version that is not named: on all that it runs on.
        vm_types: on which; empty: on all.
        states: how sure it is, kernel by kernel.
        reported: who reported it before, or where it was fixed without a report; empty: nobody that we know of.
        patterns: a failure that fits one of them, on such a version, is this.
        shown: scenarios that show it.
        library: scenarios of the library in which it has to show, on all of these versions.
        reproducer: its program below `reproducers/`, with the arguments; empty: there is none.
    """

    ident: str
    title: str
    effect: str
    versions: tuple[str, ...]
    releases: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    vm_types: tuple[str, ...] = ()
    states: tuple[State, ...]
    reported: str = ""
    patterns: tuple[Pattern, ...] = ()
    shown: tuple[Shown, ...] = ()
    library: tuple[str, ...] = ()
    reproducer: str = ""

    @property
    def page(self) -> str:
        """Path of the page in the repository."""
        return f"docs/findings/{self.ident}.md"

    @property
    def state(self) -> str:
        """All states, in words."""
        return "; ".join(state.text() for state in self.states)

    def is_of(self, version: str, release: str = "", vm_types: tuple[str, ...] = ()) -> bool:
        """Whether the version has it, on this release and one of these VM types (empty: on any)."""
        if version not in self.versions:
            return False
        releases = self.releases.get(version)
        if releases is not None and release and release not in releases:
            return False
        return not self.vm_types or not vm_types or not set(self.vm_types).isdisjoint(vm_types)

    def release_on(self, version: str) -> str | None:
        """The first release on which the version has it; None: it has it on all."""
        releases = self.releases.get(version)
        return None if releases is None else releases[0]

    def explains(self, failure: Failure) -> bool:
        """Whether the failure is this, on a version that has it."""
        scene = failure.scene
        if scene is None or not self.is_of(scene.version, scene.release, scene.vm_types):
            return False
        return any(pattern.fits(failure, scene) for pattern in self.patterns)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.ident,
            "title": self.title,
            "effect": self.effect,
            "state": self.state,
            "states": [attrs.asdict(state) for state in self.states],
            "versions": list(self.versions),
            "releases": {version: list(names) for version, names in self.releases.items()},
            "vm_types": list(self.vm_types),
            "reported": self.reported or None,
            "known_by": [pattern.text() for pattern in self.patterns],
            "scenarios": [attrs.asdict(shown) for shown in self.shown],
            "reproducer": self.reproducer or None,
            "page": self.page,
        }
