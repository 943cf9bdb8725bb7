"""One scenario on one version, with or without a mend: failures, the order of its locks, what is left at the end."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING, Any, cast

from ...actors.fault import RetPf
from ...audit.kvm_events import Map, MapRet
from ...explore.findings.table import apart
from ...explore.lock_graph import LockGraph
from ...explore.program import ScenarioProgram
from ...explore.search import Limits, watch_events
from ...explore.strategies import make_strategy
from ...scenarios.catalogue import load_named
from ..study import look

if TYPE_CHECKING:
    from ...actors.vm import World
    from ...audit.recorder import Actor, Rec
    from ...explore.failure import Failure
    from ...explore.runs import Run

#: Resumptions of a run at most.
_STEPS = 6_000


class LeftMapped:
    """An `Observer`: whether a run came to its end, workers included, with a poisoned page mapped in a guest.

    Attributes:
        found: VMs and gfns, at the end of any run.
    """

    __kept__ = True

    def __init__(self) -> None:
        self.found: set[tuple[str, int]] = set()

    def attach(self, run: Run) -> None:
        """Nothing to do before a run."""

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """Look at the tables of every VM."""
        session = getattr(run, "session", None)
        if session is None or failure is not None or pruned:
            return
        world: World = session.machine.world
        for vm in world.vms.values():
            for private in (False, True):
                for gfn, spte in vm.stage2.root(private).items():
                    if spte.folio is not None and spte.folio.poisoned:
                        self.found.add((vm.label, gfn))


class Warned:
    """An `Observer`: whether a fault that found no slot came to a leaf, where `kvm_tdp_mmu_map` (6.13 on) warns.

    Attributes:
        found: it did, in any run.
    """

    __kept__ = ("found",)

    def __init__(self) -> None:
        self.found = False
        self._noslot: dict[str, bool] = {}

    def attach(self, run: Run) -> None:
        """Watch how faults without a frame end."""
        self._noslot = {}
        watch_events(run.engine, cast("Rec", self._event))

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """Nothing to conclude from how it ended."""

    def _event(self, t: Actor, event: object) -> None:
        if isinstance(event, Map):
            self._noslot[t.name] = event.pfn < 0
        elif isinstance(event, MapRet) and event.ret == RetPf.SPURIOUS and self._noslot.get(t.name):
            self.found = True


def edge_text(edge: tuple[str, str, str, str]) -> str:
    """`folio (w) > invalidate_lock (r)`: held, then asked for."""
    return f"{edge[0]} ({edge[1]}) > {edge[2]} ({edge[3]})"


def ask_scenario(
    scenario: str,
    patch: str,
    vm_type: str,
    *,
    release: str | None = None,
    states: int = 100_000,
    seconds: float | None = None,
    sampled: int = 0,
) -> dict[str, Any]:
    """Look at every state of a scenario of the catalogue.

    Args:
        patch: `VERSION` or `VERSION+MEND`.
        states, seconds: where the search gives up; the answer is not complete then.
        sampled: so many schedules are drawn then with POS, since a search of states that gives up has changed late
            choices only.

    Returns:
        As a JSON line: `complete`, `states`, `seconds` (CPU), `violations` (rule, kind, summary, and the finding that
        it is on the version), `sampled` (schedules that were drawn), `left_mapped` (some run ends with a poisoned page
        mapped), `warned` (`Warned`), `edges` and `cycles` of the lock order.

    Raises:
        KeyboardInterrupt: the user's.
    """
    began = process_time()
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=vm_type, release=release)
    graph, left, warned = LockGraph(program.name), LeftMapped(), Warned()
    observers = (graph, left, warned)
    result = look(
        program,
        make_strategy("stateful", 0),
        Limits(schedules=None, states=states, seconds=seconds, steps=_STEPS),
        keep_going=True,
        observers=observers,
    )
    results = [result]
    if sampled and not result.complete:
        limits = Limits(schedules=sampled, steps=_STEPS)
        results.append(look(program, make_strategy("pos", 0), limits, keep_going=True, observers=observers))
    found = {apart(one.failure): one for each in reversed(results) for one in each.found}
    edges = {
        (edge.held_class, edge.held_mode, edge.wants_class, edge.wants_mode) for edge in graph.edges.values()
    }
    return {
        "scenario": scenario,
        "patch": patch,
        "arch": vm_type,
        "complete": result.complete,
        "states": result.states,
        "schedules": result.schedules,
        "sampled": sum(each.schedules for each in results[1:]),
        "cpu_seconds": round(process_time() - began, 2),
        "violations": [
            {"rule": rule, "kind": kind, "known": finding, "summary": one.failure.summary}
            for (rule, kind, finding, _), one in found.items()
        ],
        "left_mapped": bool(left.found),
        "warned": warned.found,
        "edges": sorted(edge_text(edge) for edge in edges),
        "cycles": sorted({cycle.text() for cycle in graph.cycles()}),
    }
