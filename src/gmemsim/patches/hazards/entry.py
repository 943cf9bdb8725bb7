"""What is known of one hazard: a question that was debated and is not (yet) a bug, and how it is asked here.

The numbers are those of our list of hazards (bugs.md 5). A hazard has cases: a patch version as it is, or with a
change that somebody proposed or feared (a seed), in a scenario that shows whether anything comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from ..entry import Entry

#: Versions whose faults take no invalidate lock; those that convert in place; those with 2 MiB folios, the last two as
#: the series has populate and the flag.
BEFORE_IN_PLACE: Final = ("baseline", "v1", "v2", "v3", "mainline-7.3")
IN_PLACE: Final = ("inplace-v8", "inplace")
SMALL: Final = BEFORE_IN_PLACE + IN_PLACE
HUGE_PAGES: Final = ("hugepage", "hugepage-mutex", "hugepage-populate", "hugepage-tracked")
#: Why what is asked of all versions with folios of one size does not apply to the others.
_OTHER_SIZE: Final = {SMALL: "asked of 4 KiB folios", HUGE_PAGES: "has folios of one page"}


@attrs.frozen(kw_only=True)
class Case:
    """One way to ask.

    Attributes:
        seed: changes, joined by `+` as in a patch's name; empty: the versions as they are.
        says: what is asked or changed, in a few words.
        scenario: name of the scenario.
        versions: patch versions that it is asked of; default: those with folios of one page.
        vm_types: on which.
        violated: versions that break a rule, each with the rules that are the hazard; `*` stands for all others.
        not_for: why it does not apply to other versions, by version; `*` stands for all of them. Not needed where it
            is asked of all versions with folios of one size.
        without: rules that are not looked at, since the change breaks them by definition.
        counts: events to count, by what the count is called: the event's name and, after `:`, a field that must be
            true, or one with its value (`ret=-17`).
    """

    says: str
    scenario: str
    versions: tuple[str, ...] = SMALL
    seed: str = ""
    vm_types: tuple[str, ...] = ("sw-protected",)
    violated: Mapping[str, str] = attrs.field(factory=dict)
    not_for: Mapping[str, str] = attrs.field(factory=dict)
    without: frozenset[str] = frozenset()
    counts: Mapping[str, str] = attrs.field(factory=dict)

    def expected(self, version: str) -> frozenset[str]:
        """Rules that `version` is expected to break here; empty: it holds."""
        return frozenset(self.violated.get(version, self.violated.get("*", "")).split())

    def reason(self, version: str) -> str:
        """Why the case does not apply to a version that it is not asked of."""
        others = self.not_for.get("*", _OTHER_SIZE.get(self.versions, ""))
        return self.not_for.get(version, others)

    def patch(self, version: str) -> str:
        """Name of what is run."""
        return f"{version}+{self.seed}" if self.seed else version


def _of_cases(what: str) -> Any:
    """All that the cases name."""
    return attrs.field(
        init=False,
        default=attrs.Factory(
            lambda hazard: tuple(dict.fromkeys(one for case in hazard.cases for one in getattr(case, what))),
            takes_self=True,
        ),
    )


@attrs.frozen(kw_only=True)
class Hazard(Entry):
    """One hazard.

    Attributes:
        name: its number in the list.
        why_not: why there is no case; empty if there is one.
        cases: how it is asked here.
        answer: what the verdicts together say.
    """

    cases: tuple[Case, ...] = ()
    versions: tuple[str, ...] = _of_cases("versions")
    vm_types: tuple[str, ...] = _of_cases("vm_types")
    answer: str = ""

    def __attrs_post_init__(self) -> None:
        if bool(self.cases) == bool(self.why_not):
            raise ValueError(f"hazard {self.name}: either cases or a reason why there are none")
