"""Dynamic partial-order reduction: one schedule of each class that differs in the order of independent steps.

Flanagan and Godefroid, "Dynamic partial-order reduction for model checking software" (POPL 2005), with the source
sets of Abdulla, Aronis, Jonsson and Sagonas, "Optimal dynamic partial order reduction" (POPL 2014), and sleep sets
(Godefroid 1996) and the wakeup trees of the same paper (`dpor_tree`). A run is executed to its end; every pair of its
steps that raced (`dpor_order`) leads to one more run in which they come the other way round, unless such a run is under
way anyway. Sleep sets cut runs that only repeat explored ones; they are counted in `blocked`. Without remembered states
there are none, and each class has one run, if no step has a draw in it and no loop is waited for: a beginning of a run
is followed up to its first draw only, and a task that goes round is put to sleep after the fact.

Dependence is over locks by mode (two readers commute while nobody writes or queues), over ranges of folio indices,
guest frames and frames, and over whatever else a step says that it touched (`Task.touch`). The attempt to take a lock
is a step that is always possible; if the lock is taken it puts the task into the queue, and the grant is a step of its
own. So the order of arrival is state, no lock operation is ever disabled, and a deadlock is found by reordering
attempts.

Draws. An answer within a step (a fault, a spinner's luck) is a choice of that step alone: all answers are tried.

What is preserved: every reachable final outcome, deadlock and exception of the model, provided that steps touch
nothing they do not say. Tests compare with plain depth-first search, and swap neighbouring steps that claim to be
independent. What is not: an oracle that looks at more than the present step touches sees one order of independent
steps, and not the others.

Loops. A task that goes round without changing anything (a fault that is retried while its page is being invalidated)
makes the number of schedules infinite. A round that leads back to the state in which it began is cut: the task sleeps
until somebody does something that its round depends on, as in Kokologiannakis, Ren and Vafeiadis, "Dynamic partial
order reductions for spinloops" (FMCAD 2021). If nobody is left who could, the run has no end and is reported as one
that met the step limit. Loops of several tasks that keep each other going are not recognised.

A step that ends the run while others had still something to do (a violation, an exception) depends on all of them.

States are remembered (`cache`), as in Yang, Chen, Gopalakrishnan and Kirby, "Efficient stateful dynamic partial order
reduction" (SPIN 2008). A run is cut where it comes to a state from which everything that had to be tried has been, with
no task asleep that is awake now. What was done from there is kept as a set of steps with their footprints, and each of
them is held against the steps of the present run as if it came next, so that no race is lost by the cut. A state of the
present path is not finished, and never cut at; so what is kept of a state is all there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ...engine.errors import Pruned, StepLimit, TapeMismatch
from ...engine.op import Footprint, footprint
from ..state import StateDigest
from ..state.frames import place_of
from .dpor_node import Finished, Node
from .dpor_order import EVERYTHING, Order, conflict
from .dpor_tree import Branch, Coming, covered, insert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engine.engine import Engine
    from ...engine.task import Task


class GoesRound(StepLimit):
    """Whoever can run goes round in a loop that changes nothing, so the run has no end."""

    def __init__(self, steps: int, tasks: Sequence[Task]) -> None:
        super().__init__(steps)
        self.args = (f"after {steps} steps {', '.join(task.name for task in tasks)} only go round in a loop",)


class Dpor:
    """Optimal DPOR: source sets, wakeup trees, sleep sets.

    Args:
        cache: remember states; 0: do not.

    Attributes:
        cached: runs that were cut at a state from which everything was tried before.
        schedules: runs begun so far.
        blocked: runs that ended because every task that could go on was asleep.
        races: pairs of steps that were found to be reversible.
        spins: times that a task was put to sleep because it went round in a loop.
        complete: nothing is left to try.
    """

    name: ClassVar[str] = "dpor"
    summary: ClassVar[str] = "one schedule of each class that differs in independent steps only"
    bound: ClassVar[str] = ""
    systematic: ClassVar[bool] = True
    reduces: ClassVar[bool] = True

    def __init__(self, cache: int = 1) -> None:
        self.caches = bool(cache)
        self.schedules = 0
        self.blocked = 0
        self.cached = 0
        self._finished: dict[bytes, Finished] = {}
        self.races = 0
        self.spins = 0
        self.complete = False
        self._stack: list[Node] = []
        self._order = Order()
        self._engine: Engine | None = None
        #: Steps begun in the present run, and draws in the present step.
        self._steps = 0
        self._drawn = 0
        self._parked: frozenset[int] = frozenset()
        self._born = 0
        self._cut = False
        #: Digests of states in the middle of a stretch of steps of one task, by number of the step.
        self._alone: dict[int, bytes] = {}
        self._digest = StateDigest()
        #: Races of the present run, by number of the steps.
        self._found: list[tuple[int, int]] = []

    @property
    def remembered(self) -> int:
        """Different states from which everything was tried, so far."""
        return len(self._finished)

    # -- a run ---------------------------------------------------------------------------------

    def begin(self, engine: Engine) -> bool:
        """Conclude from the last run what is to be tried next; False when nothing is left."""
        if self._engine is not None:
            self._conclude(self._engine)
            if not self._advance():
                self.complete = True
                return False
            self._order.cut(len(self._stack) - 1)
        self.schedules += 1
        self._engine = engine
        self._steps = 0
        self._cut = False
        self._alone.clear()
        engine.ask_touched([])
        engine.watch_steps(self._before_step)
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        """Who runs next."""
        node = self._node(runnable, current)
        task = next((task for task in runnable if task.ident == node.chosen), None)
        if task is None:
            raise self._differs()
        return task

    def draw(self, task: Task, label: str, bound: int) -> int:
        """Any other choice: one of the step under way."""
        if not self._steps:
            raise TapeMismatch(f"{task.name} draws {label} before the first step")
        draws = self._stack[self._steps - 1].draws
        number = self._drawn
        self._drawn = number + 1
        if number == len(draws):
            draws.append([0, bound])
        value, known = draws[number]
        if known != bound:
            raise self._differs()
        return value

    def _before_step(self, task: Task) -> None:
        engine = task.engine
        node = self._node(engine.runnable, None)
        if node.op is None:
            node.op = task.pending
            node.place = place_of(task.handle)
        if node.chosen != task.ident or node.op != task.pending:
            raise self._differs()
        touched = engine.touched
        assert touched is not None
        touched.clear()
        self._steps += 1
        self._drawn = 0
        if self._steps > len(self._order):
            self._parked = frozenset(other.ident for other in engine.tasks if other.parked_on is not None)
            self._born = len(engine.tasks)

    def _node(self, runnable: Sequence[Task], current: Task | None) -> Node:
        """The node of the step that is about to be chosen."""
        if self._steps < len(self._stack):
            return self._stack[self._steps]
        assert self._engine is not None
        self._complete_step(self._engine)
        sleep: dict[int, Footprint] = {}
        if self._stack:
            parent = self._stack[-1]
            last = self._order.footprint(len(self._order) - 1)
            sleep = {
                ident: footprint
                for ident, footprint in (parent.sleep | parent.done).items()
                if ident != parent.chosen and not conflict(footprint, last)
            }
        spinning: set[int] = set()
        if self._stack:
            spinning = {ident for ident in self._stack[-1].spinning if ident in sleep}
            self._spin(runnable, sleep, spinning)
        awake = [task for task in runnable if task.ident not in sleep]
        if not awake:
            self._cut = True
            if all(task.ident in spinning for task in runnable):
                raise GoesRound(self._steps, runnable)
            self.blocked += 1
            raise Pruned
        chosen = current if current in awake else awake[0]
        assert chosen is not None
        first = Branch(chosen.ident)
        rest: list[Branch] = []
        if self._stack:
            parent = self._stack[-1]
            idents = {task.ident for task in awake}
            guide = [branch for branch in parent.then if branch.task in idents]
            parent.then = []
            if guide:
                first, *rest = guide
        state = self._digest.of(self._engine) if self.caches else b""
        finished = self._finished.get(state)
        if finished is not None and finished.sleep <= sleep.keys():
            self._cut_at(finished)
        node = Node(tuple(task.ident for task in runnable), sleep, first, state)
        node.wanted = rest
        node.spinning = spinning
        self._stack.append(node)
        return node

    def _cut_at(self, finished: Finished) -> None:
        """Everything from here on was tried: see to the races that its steps have with those of this run.

        Raises:
            Pruned: always.
        """
        self._cut = True
        self.cached += 1
        number = len(self._order)
        for task, ops in finished.future:
            if ops is EVERYTHING:
                for node in self._stack:
                    node.want(node.enabled)
                continue
            for first in self._order.add(task, ops, ()):
                self.races += 1
                self._let_go_first(first, number, task)
            self._order.cut(number)
        if self._stack:
            self._stack[-1].future |= finished.future
        raise Pruned

    def _spin(self, runnable: Sequence[Task], sleep: dict[int, Footprint], spinning: set[int]) -> None:
        """Put the task of the last step to sleep if all that it does is to go round.

        Its last steps, with nobody else's in between, led back to a state in which they began: one more round shows
        nothing until somebody changes what the round looks at, and then it wakes up like any other sleeper.
        """
        stack = self._stack
        number = len(stack)
        last = stack[-1].chosen
        task = next((task for task in runnable if task.ident == last), None)
        if task is None or last in sleep:
            return
        start = number
        while start and stack[start - 1].chosen == last:
            start -= 1
        # A state can only recur where the position in the code does; so a digest is made where it has.
        place = place_of(task.handle)
        if not any(stack[position].place == place for position in range(start, number)):
            return
        digest = self._digest.of(task.engine)
        for position, seen in self._alone.items():
            if seen == digest and start <= position < number:
                touched = (op for step in range(position, number) for op in self._order.footprint(step))
                sleep[last] = tuple(dict.fromkeys(touched))
                spinning.add(last)
                self.spins += 1
                return
        self._alone[number] = digest

    def _differs(self) -> TapeMismatch:
        return TapeMismatch(f"step {self._steps} was another one before: the program is not deterministic")

    # -- what a run taught ---------------------------------------------------------------------

    def _complete_step(self, engine: Engine) -> None:
        """The step under way has come to its end: its footprint is known, and with it its races."""
        number = self._steps - 1
        if number < len(self._order):
            return
        node = self._stack[number]
        assert node.op is not None
        ops = footprint(node.op, engine.touched or ())
        node.touched = tuple(dict.fromkeys((*node.touched, *ops)))
        node.future.add((node.chosen, ops))
        enabled = [
            task.ident
            for task in engine.tasks
            if task.ident >= self._born or (task.ident in self._parked and task.parked_on is None)
        ]
        for first in self._order.add(node.chosen, ops, enabled):
            self.races += 1
            self._found.append((first, number))

    def _reverse(self, first: int, second: int) -> None:
        """See to it that a run is tried in which `second` comes before `first`, now that the run is at its end."""
        node = self._stack[first]
        order = self._order
        steps: list[Coming] = []
        for number in [*order.apart(first), second]:
            step = order.step(number)
            drew = bool(self._stack[number].draws)
            steps.append(Coming(step.task, step.footprint, number, step.before, drew))
        if covered(node.sleep | node.done, steps):
            return
        if steps[0].task in node.enabled:
            insert(node.wanted, steps)
        else:
            node.want(node.enabled)

    def _let_go_first(self, first: int, second: int, task: int) -> None:
        """The same for a step `second` that is known from another run: let a task begin that can lead there."""
        node = self._stack[first]
        initials = self._order.initials(first, second)
        if initials & {node.chosen, *node.sleep, *node.done, *(branch.task for branch in node.wanted)}:
            return
        possible = initials & set(node.enabled)
        if not possible:
            node.want(node.enabled)
        else:
            node.want([task if task in possible else min(possible)])

    def _conclude(self, engine: Engine) -> None:
        """The run has ended."""
        if not self._cut and self._steps:
            self._complete_step(engine)
        for first, second in self._found:
            self._reverse(first, second)
        self._found.clear()
        if not self._cut and self._steps and engine.runnable:
            node = self._stack[self._steps - 1]
            node.touched = EVERYTHING
            node.future.add((node.chosen, EVERYTHING))
            node.want(node.enabled)

    def _advance(self) -> bool:
        """Go back to the last state with something left to try, and choose it."""
        stack = self._stack
        while stack:
            node = stack[-1]
            draws = node.draws
            while draws and draws[-1][0] + 1 >= draws[-1][1]:
                draws.pop()
            if draws:
                draws[-1][0] += 1
                return True
            node.done[node.chosen] = node.touched
            if node.next():
                return True
            stack.pop()
            if stack:
                stack[-1].future |= node.future
            if self.caches:
                self._finish(node)
        return False

    def _finish(self, node: Node) -> None:
        """Remember a state from which everything was tried; of two ways to come there the one with fewer asleep."""
        known = self._finished.get(node.state)
        sleep = frozenset(node.sleep)
        if known is None or sleep < known.sleep:
            self._finished[node.state] = Finished(frozenset(node.future), sleep)
