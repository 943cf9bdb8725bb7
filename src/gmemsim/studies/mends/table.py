"""The candidates of one finding, each searched on one version beside the version as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...explore.findings.groups import IN_PLACE
from ...explore.findings.table import FINDINGS
from ...nearest import hint
from ...patches.entry import Entry
from ...patches.mends.registry import MENDS, mends_of
from ..study import Asked, Plan, Result, Study, StudyError
from .against import added, new_failures, removed
from .ask import ask_scenario
from .unjudged import met, shown_on, versions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...explore.findings.finding import Finding


class Mends(Study):
    """Each candidate ends its finding and breaks nothing else, in the scenarios that show the finding."""

    name = "mends"
    unknown = "no mends of a finding {!r}"
    listed = "gmemsim list mends"

    def entries(self) -> dict[str, Entry]:
        """Findings that have candidates and that a search can meet."""
        return {
            ident: _entry(FINDINGS[ident])
            for ident in dict.fromkeys(ident for mend in MENDS.values() for ident in mend.findings)
            if any(shown_on(FINDINGS[ident], version) for version in versions_of(FINDINGS[ident]))
        }

    def find(self, name: str) -> list[Entry]:
        if name in FINDINGS and name not in self.entries():
            raise StudyError(
                f"no oracle calls {name} an error; what its mends change is in {FINDINGS[name].page}"
            )
        return super().find(name)

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        finding = FINDINGS[entry.name]
        for patch in patches or (default_version(finding),):
            if patch not in versions_of(finding):
                raise StudyError(f"--patch {patch}: {hint(patch, versions_of(finding))}")
            if not shown_on(finding, patch):
                raise StudyError(f"no scenario shows {finding.ident} on {patch}")
            # A search of all states is the same, whatever strategy a finding is shown with.
            places = dict.fromkeys((shown.scenario, shown.vm_type) for shown in shown_on(finding, patch))
            for scenario, arch in places:
                for mend in ("", *(each.ident for each in mends_of(finding.ident))):
                    if not vm_types or arch in vm_types:
                        part = f"{scenario}+{mend}" if mend else scenario
                        yield Asked(entry=entry, patch=patch, arch=arch, part=part, about=(scenario, mend))

    def ask(self, asked: Asked, plan: Plan) -> Result:
        finding, version, (scenario, mend) = FINDINGS[asked.entry.name], asked.patch, asked.about
        release = finding.release_on(version)
        row = ask_scenario(
            scenario,
            f"{version}+{mend}" if mend else version,
            asked.arch,
            release=release,
            states=plan.states,
            seconds=plan.seconds,
        )
        gone = _gone(finding, row)
        return Result(
            asked=asked,
            row={**row, "release": release},
            verdict={True: "gone", False: "met", None: "not met; cut short"}[gone],
            says="; ".join(f"{each['rule']}: {each['summary']}" for each in row["violations"]),
            as_expected=None if gone is None else True,
            complete=row["complete"],
        )


def _entry(finding: Finding) -> Entry:
    return Entry(
        name=finding.ident,
        title=finding.title,
        question="Which candidate ends it, and what does it break?",
        versions=tuple(versions_of(finding)),
        vm_types=tuple(dict.fromkeys(shown.vm_type for shown in shown_on(finding, default_version(finding)))),
    )


def default_version(finding: Finding) -> str:
    """The newest released version that has it, else the series in place, else its last."""
    there = versions_of(finding)
    for name in ("mainline-7.3", "v3", "inplace", *reversed(IN_PLACE), "hugepage"):
        if name in there:
            return name
    return there[-1]


def _gone(finding: Finding, asked: dict[str, Any]) -> bool | None:
    return False if met(finding, asked) else True if asked["complete"] else None


def judged(finding: Finding, mend: str, asked: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Hold one answer of `ask_scenario` against that of the version as it is; `mend` is empty for this itself.

    `gone`: the finding is not met, in a complete search (None: in one that was cut short); `met_without`: without the
    mend it is; `broken`: rules that are broken with the mend and not without, with what the first failure says; and how
    the lock order differs (None: a search that was cut short does not tell).
    """
    changes = {
        f"{what}_{how.__name__}": how(asked, base, what)
        for what in ("edges", "cycles")
        for how in (added, removed)
    }
    return {
        "mend": mend or None,
        "gone": _gone(finding, asked),
        "met_without": met(finding, base),
        "broken": new_failures(asked, base),
        **changes,
        **asked,
    }


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Results of one finding on one version, as far as the version without a mend was searched."""
    bases = {result.asked.key[2:]: result.row for result in results if not result.asked.about[1]}
    found = []
    for result in results:
        scenario, mend = result.asked.about
        if (base := bases.get((result.asked.arch, scenario))) is not None:
            found.append(judged(FINDINGS[result.asked.entry.name], mend, result.row, base))
    return found
