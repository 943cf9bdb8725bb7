"""What is known about one seeded bug, and the class that has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from ...actors.kernel import Kernel

__all__ = ["Bug"]


@attrs.frozen(kw_only=True)
class Bug:
    """One entry of the zoo. It names its scenario: patches know no scenario.

    Attributes:
        id: its name.
        title: what is wrong, in one line.
        origin: `shipped-bug`, `review-found`, `guard-mutant`, `source-derived` or `documented-benign`.
        family: what it is about.
        source: commit, message or document that tells of it.
        parents: names of the patch versions that it is seeded into.
        make: from a patch version to a subclass with the bug; for a benign entry, the version as it is.
        policy: lock class that takes the place of the invalidate lock, for bugs of the lock itself.
        arches: VM types to look on.
        scenario: name of the scenario that a user would write.
        rules: any of these is the bug; empty for a benign entry, which must give none.
        release: kernel release, if it is not the parent's default.
        options: more keywords for `explore.program.ScenarioProgram`.
        why_not: why there is no variant; empty if there is one.
    """

    id: str
    title: str
    origin: str
    family: str
    source: str
    parents: tuple[str, ...] = ()
    make: Callable[[type[Kernel]], type[Kernel]] | None = None
    policy: Any = None
    arches: tuple[str, ...] = ()
    scenario: str = ""
    rules: frozenset[str] = frozenset()
    release: str | None = None
    options: dict[str, Any] = attrs.field(factory=dict)
    why_not: str = ""

    def __attrs_post_init__(self) -> None:
        if bool(self.make or self.policy) == bool(self.why_not):
            raise ValueError(f"{self.id}: either a variant or a reason why there is none")

    @property
    def expressible(self) -> bool:
        """Whether there is something to run."""
        return not self.why_not
