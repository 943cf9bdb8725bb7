"""What studies ask about: one kind of entry, whether it is a seeded bug, a hazard, a test or operations that meet."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Entry:
    """One question of a study (`gmemsim.studies`).

    Attributes:
        name: what is typed.
        title: what it is about, in one line.
        question: what is asked, and by whom; empty where the study asks the same of all its entries.
        origin: where it comes from; empty: from the study.
        versions: patch versions that it is asked of unless the user names others.
        vm_types: VM types that it is asked on.
        why_not: why it cannot be asked; empty if it can.
    """

    name: str
    title: str
    question: str = ""
    origin: str = ""
    versions: tuple[str, ...] = ()
    vm_types: tuple[str, ...] = ()
    why_not: str = ""
