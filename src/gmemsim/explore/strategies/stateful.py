"""Depth-first search that remembers states: a run is cut where it comes to a state that was met before.

Explicit-state search as in SPIN or TLC. Of a state only the digest is kept (hash compaction; Wolper and Leroy, CAV
1993: two states with the same 128 bits would be taken for one, which for n states happens with a probability of about
n^2 / 2^129), and for the states of the present path how to go back to them (`explore.state.live`). Where that cannot be
done, on an interpreter that `state.coroutines` does not know or with something in the program that cannot be put back,
every branch runs its prefix again; the states are the same.

What is kept. A state is everything that can be reached from the tasks and from what the outcome is read from: objects
of the model, positions, locals and evaluation stacks of the tasks, budgets of the fault points, results so far (see
`explore.state`). So every final outcome that plain depth-first search finds is found: the first run that comes to
a state goes on, and whatever its schedules leave over is tried by going back to it, whether or not the state is on the
present path.

What the oracles remember is state too (`ledger`). Two histories can lead to the same model state with different
ledgers, for instance an invalidation that ended properly and one that the kernel forgot to start; without the ledger
the second would be cut, and with it whatever the oracle had against it later. With `ledger=False` there are fewer
states, violations that an oracle finds in the present state alone are still found, and others may be lost.

Cycles. A state that recurs within one run means that the tasks can go round for ever, if the scheduler lets them.
`cycles` counts those runs. Most are harmless (a fault that is retried while its page is being invalidated, with a
scheduler that never lets the invalidation finish). Those that no fair scheduler ends are found in the graph of states
(`state_graph`) when all of it is known, or a budget is used up: `traps` has the way to each.

Sleep sets (`reduce`, see `sleep`): steps are left out that only lead to a state on another way. With a state is kept
who was asleep in it whenever it was met; a run that comes there with one of them awake goes on with that one alone. It
needs a run that is taken back and forth, and is off without. Where a step was left out, the graph of states has it all
the same: it leads to where the same two steps in the other order lead.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from ...engine.answers import candidate
from ...engine.bare import let_go
from ...engine.errors import EngineError, Pruned
from ..state import LiveState, NotRestorable, StateDigest
from .dfs import DepthFirst
from .sleep import Choice, StepWatch, independent
from .state_graph import END, StateGraph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...engine.engine import Engine
    from ...engine.task import Task
    from ..state import Mark
    from .sleep import Sleepers


@contextmanager
def _looking() -> Iterator[None]:
    """Around whatever reads or writes the objects of a run: what a user's class raises there is no failure of the run.

    Raises:
        NotRestorable: in place of it.
    """
    try:
        yield
    except (NotRestorable, EngineError):
        raise
    except Exception as error:
        raise NotRestorable(f"looking at the state raised {error!r}") from error


class Stateful(DepthFirst):
    """Enumerates states instead of schedules.

    Args:
        reduce: leave out steps that only lead to a state on another way: 1 where that is the same for every oracle, 2
            wherever the model is the same (`sleep`); 0: nowhere. 3: leave out states that differ from another one only
            in which of several tasks that do the same is where (`state.symmetry`).
        ledger: what the oracles remember is part of a state. If it is not, none of them is exact.
        budget: from so many states on no other is looked at, and the run under way goes on to its end; None: no limit.
            Whoever gives one begins no other run then.

    Attributes:
        cycles: runs that came back to a state of their own.
        states: different states so far, the initial one included and final ones not.
    """

    name: ClassVar[str] = "stateful"
    #: Goes on from run to run (see `state.heap`).
    __kept__: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "every state once: depth first, cut where a run comes to a state met before; 1, 2: with sleep sets; "
        "3: tasks that do the same may be exchanged"
    )

    caches: ClassVar[bool] = True

    def __init__(self, reduce: int = 0, *, ledger: bool = True, budget: int | None = None) -> None:
        super().__init__()
        if reduce not in (0, 1, 2, 3):
            raise ValueError(f"stateful takes 0, 1, 2 or 3, not {reduce}")
        self.reduce = reduce
        self.reduces = reduce == 2
        #: Final outcomes that differ only so are left out as well.
        self.exchanges = reduce == 3
        #: Names of tasks that do the same; whoever drives the search sets them before the first run.
        self.alike: tuple[tuple[str, ...], ...] = ()
        #: Of these, for whom that was done.
        self.exchanged: tuple[tuple[str, ...], ...] = ()
        self._watch: StepWatch | None = None
        #: By state of the way, who sleeps in it; by state, who slept whenever it was met.
        self._sleepers: list[Sleepers] = []
        self._slept: list[frozenset[int]] = []
        #: Tasks to go on with from the present state, if the others have been tried from it before.
        self._only: frozenset[int] | None = None
        #: Per answer of the path, the choice that it belongs to, if it is one of the next task.
        self._choices: list[Choice | None] = []
        self._choice: Choice | None = None
        self.budget = budget
        self.cycles = 0
        self.forgets = not ledger
        self.graph = StateGraph()
        self._digest = StateDigest(ledger=ledger)
        #: States along the present run; those before its last changed answer stand from earlier runs.
        self._way: list[int] = []
        #: By state of the way, how many answers came before it.
        self._answered: list[int] = []
        self._step = 0
        self._looked = False
        self._pruned = False
        #: Whether a fault fired in the present step.
        self._fired = False
        #: Per answer of the path: how many states of the way come before what it decides.
        self._depths: list[int] = []
        self._engine: Engine | None = None
        #: Whether one run is taken back and forth; whoever drives the search sets it before the first run.
        self.restores = False
        #: States that could not be read.
        self._unread = 0
        self._live: LiveState | None = None
        #: States of the path to go back to: how many answers come before, the step, and where it is.
        self._marks: list[tuple[int, int, Mark]] = []

    @property
    def states(self) -> int:
        """Different states so far."""
        return len(self.graph)

    def begin(self, engine: Engine) -> bool:
        """Go to the next schedule; False when no state has an untried answer left."""
        if self._engine is not None:
            self._end()
        if not super().begin(engine):
            return False
        if self._depths:
            del self._depths[len(self._path) :]
            del self._way[self._depths[-1] :]
            del self._answered[self._depths[-1] :]
            del self._sleepers[self._depths[-1] :]
            del self._choices[len(self._path) :]
            choice = self._choices[-1] if self._choices else None
            if choice is not None:
                choice.next()
        self._looked = self._pruned = self._fired = False
        if self._live is not None:
            self._go_back(self._live)
            return True
        self._step = 0
        self._engine = engine
        engine.kept = self.restores
        if self.restores and self.reduce in (1, 2):
            self._watch = StepWatch(engine)
        engine.watch_steps(self._before_step)
        return True

    def name_of(self, live: LiveState) -> bytes:
        """What the present state is known by."""
        return live.digest()

    def _go_back(self, live: LiveState) -> None:
        """To the last state of which a choice before the changed one was made."""
        marks = self._marks
        while marks[-1][0] >= len(self._path):
            marks.pop()
        self._position, self._step, mark = marks[-1]
        with _looking():
            live.back(mark)
        # The choice of this step is still to be made.
        live.engine.steps -= 1

    def restart(self) -> None:
        """Forget everything; from now on every run is built anew."""
        self.close()
        self.__init__(self.reduce, ledger=not self.forgets, budget=self.budget)  # type: ignore[misc] # as new, whatever the class

    def close(self) -> None:
        """Let go of the run that was taken back and forth."""
        live, self._live = self._live, None
        if live is not None:
            live.close()
        elif self._engine is not None and self.restores:
            # It ended before its first state was looked at.
            for task in self._engine.tasks:
                if not task.done:
                    let_go(task)

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next, if the state is new."""
        self._look()
        self._looked = True
        if self._position == len(self._depths):
            self._depths.append(self._step + 1)
            if self._live is not None:
                self._marks.append((self._position, self._step, self._live.mark()))
        if self._watch is None:
            return super().pick(runnable, current)
        if self._position == len(self._choices):
            self._choices.append(self._new_choice(runnable, current))
        self._choice = choice = self._choices[self._position]
        assert choice is not None
        return candidate(runnable, current, choice.order[self._answer(len(choice.order))])

    def _new_choice(self, runnable: list[Task], current: Task | None) -> Choice:
        """Who is awake in the present state, and not tried from it yet."""
        tasks = [candidate(runnable, current, answer) for answer in range(len(runnable))]
        order = tuple(answer for answer, task in enumerate(tasks) if self._awake(task))
        return Choice(order, tuple(tasks[answer].ident for answer in order))

    def _awake(self, task: Task) -> bool:
        sleeps = bool(self._sleepers) and task.ident in self._sleepers[-1]
        return not sleeps and (self._only is None or task.ident in self._only)

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice, in the middle of a step."""
        if self._position == len(self._depths):
            self._depths.append(self._step)
        if self._watch is not None:
            self._watch.drew = True
            if self._position == len(self._choices):
                self._choices.append(None)
        value = super().draw(task, label, bound)
        self._fired = self._fired or (value > 0 and label in task.engine.faults)
        return value

    @property
    def unfinished(self) -> set[int]:
        """States from which not every step was taken."""
        # Those on the way of the last run still have answers to try, unless it was the last of all.
        return set() if self.complete else set(self._way)

    def traps(self) -> list[tuple[int, list[int]]]:
        """Loops that no step leaves: how many states they have, and the answers that lead to the first of them."""
        unfinished = self.unfinished | self.graph.complete()
        return [(len(trap), self.graph.answers(trap[0])) for trap in self.graph.traps(unfinished)]

    def _before_step(self, task: Task) -> None:
        """A step that only one task could take was not asked for; its state counts as well."""
        if not self._looked:
            self._look()
        self._looked = False
        self._step += 1
        if self._live is not None:
            self._live.ran.add(task)
        if self._watch is not None:
            self._watch.begins(task, self._choice)
            self._choice = None

    def _look(self) -> None:
        """Cut the run if its state was met before, unless that is how far it only repeats the one before."""
        fired, self._fired = self._fired, False
        if self._step < len(self._way) or (self.budget is not None and self.states >= self.budget):
            return
        assert self._engine is not None
        digest = self._look_live(self._engine) if self.restores else self._look_anew(self._engine)
        before = self._way[-1] if self._way else END
        known = self.graph.number(digest)
        sleepers = self._fall_asleep(before)
        self._only = None
        if known == END:
            since = self._answered[-1] if self._answered else 0
            answers = tuple(self._actual(position) for position in range(since, self._position))
            known = self.graph.add(digest, before, answers)
            self._slept.append(frozenset(sleepers))
            if self._elsewhere(digest):
                self._only = frozenset()
        else:
            self.cycles += known in self._way
            self._only = self._slept[known] - sleepers.keys()
            self._slept[known] &= sleepers.keys()
        if before != END and not fired:
            self.graph.link(before, known)
        self._remember_step(before, known, sleepers)
        runnable = self._engine.runnable
        self._way.append(known)
        self._answered.append(self._position)
        self._sleepers.append(sleepers)
        if self._only == frozenset() or (runnable and not any(map(self._awake, runnable))):
            for part in (self._way, self._answered, self._sleepers):
                part.pop()
            self._pruned = True
            raise Pruned

    def _look_live(self, engine: Engine) -> bytes:
        """The name of the present state of the run that is taken back and forth.

        Raises:
            NotRestorable: it has something in it that cannot be put back, or that cannot be looked at.
        """
        with _looking():
            if self._live is None:
                groups = self.alike if self.exchanges else ()
                self._live = LiveState(engine, ledger=not self.forgets, groups=groups)
                self.exchanged = self.alike if self._live.renamings else ()
                digest = self.name_of(self._live)
                self._marks.append((0, 0, self._live.mark()))
                return digest
            return self.name_of(self._live)

    def _look_anew(self, engine: Engine) -> bytes:
        """The name of the present state of a run that was made anew."""
        try:
            return self._digest.of(engine)
        except EngineError:
            raise
        except Exception:  # whatever a user's class raises when it is looked at is no failure of the run
            self._unread += 1
            # Of one that cannot be read nobody knows that it was met before.
            return f"unread {self._unread}".encode()

    def _elsewhere(self, digest: bytes) -> bool:
        """Whether somebody else looks at what follows a state that is new here (`stateful_part`)."""
        return False

    def _fall_asleep(self, before: int) -> Sleepers:
        """Who sleeps behind the step that is over: whoever did or was tried before it, and is independent of it."""
        watch = self._watch
        if watch is None or before == END or self._live is None:
            return {}
        task = watch.task
        assert task is not None
        step = watch.ended(self._live.changed)
        tried = {} if watch.choice is None else watch.choice.done
        if watch.drew:
            return {}
        return {
            ident: other
            for ident, other in (self._sleepers[-1] | tried).items()
            if ident != task.ident and independent(other, step, silent=self.reduce == 1)
        }

    def _remember_step(self, before: int, after: int, sleepers: Sleepers) -> None:
        """For the graph: whose step it was, and which steps from there on are left out."""
        if self._watch is None or before == END:
            return
        task = self._watch.task
        assert task is not None
        if not self._watch.drew:
            self.graph.by_task[before, task.ident] = after
            for ident in sleepers:
                self.graph.left_out.setdefault((after, ident), (before, task.ident))

    def _actual(self, position: int) -> int:
        """What was answered there."""
        value = self._path[position][0]
        choice = self._choices[position] if position < len(self._choices) else None
        return value if choice is None else choice.order[value]

    def _end(self) -> None:
        """The last run ended by itself, in the step behind the last state of its way."""
        if not self._pruned and self._way and not self._fired:
            self.graph.link(self._way[-1], END)
