"""What is known about one candidate mend."""

from __future__ import annotations

import attrs

from ..zoo.entry import Make  # a field's type, which attrs resolves


@attrs.frozen(kw_only=True)
class Mend:
    """One candidate. It names its findings: patches know no finding.

    Attributes:
        ident: what `VERSION+IDENT` asks for.
        title: what it does, in one line.
        says: steps and locks that it has, and what it leaves open.
        findings: ids of those that it is a candidate for.
        make: from a patch version to one with the mend.
        wrong: why it is known to be wrong; empty: it is a proposal.
        blind: what of it the model can't see.
        meets: operations of the matrix that it changes or is about; it is judged in every pair that has one of them.
        triples: and with memory failure, a writer and a reader of the invalidate lock at once.
        three: and in these triples.
        scenarios: VM types and scenarios that it is searched in besides those of its findings and of its outcomes, for
            what no cell of the matrix shows.
        arches: VM types that it is for; empty: all.
    """

    ident: str
    title: str
    says: str
    findings: tuple[str, ...]
    make: Make
    wrong: str = ""
    blind: str = ""
    meets: tuple[str, ...] = ("memory failure",)
    triples: bool = False
    three: tuple[tuple[str, ...], ...] = ()
    scenarios: tuple[tuple[str, str], ...] = ()
    arches: tuple[str, ...] = ()
