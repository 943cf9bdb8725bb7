"""A witness as an order of blocks: which task runs how far before another one goes on.

A *block* is a run of steps of one task in the model. Where it ends the task is held, before one of its calls or at the
entry of a kernel function, so that nobody runs but who does in the witness. A task that waits for a lock is not held.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

import attrs

#: Kinds of places: before a call (all of them made: the number after the last), at a function's entry, in a wait.
Kind = Literal["call", "entry", "waits"]


@attrs.frozen
class Step:
    """One step of the model: who, in its which call, where, and whether it waits after it.

    Attributes:
        call: number of the operation in the task; of all that were made, at its end.
        stack: kernel functions that it is in, outermost first.
        waits: it found a lock taken and is parked.
    """

    task: str
    call: int
    stack: tuple[str, ...]
    waits: bool = False
    op: str = ""


@attrs.frozen
class Place:
    """Where a block ends.

    Attributes:
        call: for `call` its number, for `entry` that of the call in which it is.
        functions: for `entry`: of these the first that the kernel has as a function of its own. `FUNCTION<CALLER` is
            where that one calls it.
        exact: no step that another task could see lies between the place and the end of the block.
        times: for `entry`: at which entry of it within the block.
    """

    kind: Kind
    call: int = 0
    functions: tuple[str, ...] = ()
    exact: bool = True
    times: int = 1

    def text(self) -> str:
        if self.kind == "waits":
            return "until it waits"
        if self.kind == "call":
            return f"up to its call {self.call + 1}"
        where = self.functions[0].replace("<", " called by ")
        return f"up to {where}{'' if self.exact else ' (earlier than in the witness)'}"


@attrs.frozen
class Block:
    """A task runs up to a place."""

    task: str
    until: Place

    def text(self) -> str:
        return f"{self.task} {self.until.text()}"


def blocks_of(steps: Sequence[Step], calls: dict[str, int]) -> list[Block]:
    """The blocks of a witness.

    Args:
        calls: of each task, how many it has.
    """
    found: list[Block] = []
    runs = _runs(steps)
    for number, run in enumerate(runs):
        task = run[0].task
        following = next((later[0] for later in runs[number + 1 :] if later[0].task == task), None)
        before = next((earlier[-1] for earlier in reversed(runs[:number]) if earlier[0].task == task), None)
        place = _place(run, before, following, calls[task])
        if place is None or (found and found[-1].task == task):
            # It cannot be held there, so its next block begins at once.
            if place is not None:
                found[-1] = Block(task, place)
            continue
        if place == Place("call", 0):
            continue
        found.append(Block(task, place))
    return _joined(found)


def _runs(steps: Iterable[Step]) -> list[list[Step]]:
    runs: list[list[Step]] = []
    for step in steps:
        if not runs or runs[-1][0].task != step.task:
            runs.append([])
        runs[-1].append(step)
    return runs


def _joined(blocks: list[Block]) -> list[Block]:
    """Blocks of one task in a row are one."""
    found: list[Block] = []
    for block in blocks:
        if found and found[-1].task == block.task:
            found.pop()
        found.append(block)
    return found


def _place(run: list[Step], before: Step | None, following: Step | None, calls: int) -> Place | None:
    """Where a run of steps is to end."""
    last = run[-1]
    if last.waits:
        return Place("waits")
    if following is None:
        return Place("call", calls)
    if following.call > last.call or not last.stack:
        return Place("call", following.call)
    common = _common(last.stack, following.stack)
    entered = following.stack[common:]
    if entered:
        return Place("entry", following.call, entered[::-1], times=_entries(run, before, entered[-1]) + 1)
    # It goes on within the function: held where that one was entered, if that was in this run.
    known = _common(before.stack, last.stack) if before is not None and before.call == last.call else 0
    inner = last.stack[known:]
    if not inner:
        return None
    return Place("entry", last.call, inner[::-1], exact=False, times=max(1, _entries(run, before, inner[-1])))


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _entries(run: list[Step], before: Step | None, function: str) -> int:
    """How often the function was entered in a run of steps."""
    stacks = [before.stack if before is not None else (), *(step.stack for step in run)]
    return sum(function in now[_common(then, now) :] for then, now in pairwise(stacks))


class Director:
    """Who may run, as tasks arrive at places. A round begins when all tasks are at their first call.

    Attributes:
        at: how many blocks are over.
        rounds: of each round, how many blocks ended where they should.
        late: blocks of the present round that were given up.
        missed: functions at which blocks should have ended and did not.

    Args:
        tasks: names, in the order of the runner.
        blocks: to be followed; functions are those that the kernel has.
    """

    def __init__(self, tasks: Sequence[str], blocks: Sequence[Block]) -> None:
        self.tasks = tuple(tasks)
        self.blocks = tuple(blocks)
        self.at = len(self.blocks)
        self.late = 0
        self.missed: set[str] = set()
        self.rounds: list[int] = []
        self._over = [True] * len(self.blocks)
        self._counts: dict[int, int] = {}
        self._waiting: set[str] = set()
        # At the first call of the round that is about to begin.
        self._gathered: set[str] = set()

    @property
    def running(self) -> bool:
        """Whether a round is under way and not at its last block's end."""
        return self.at < len(self.blocks)

    @property
    def waits(self) -> bool:
        """Whether the present block ends with a wait, which nobody announces."""
        return self.running and self.blocks[self.at].until.kind == "waits"

    def may_go(self, task: str) -> bool:
        """Whether a task that is held may go on."""
        return task not in self._waiting

    def arrive(self, task: str, place: Place) -> None:
        """A task is at a place, perhaps still; afterwards `may_go` says whether it stays there."""
        if place.kind == "call" and place.call == 0:
            if task not in self._gathered:
                self._gathered.add(task)
                self._waiting.add(task)
                if len(self._gathered) == len(self.tasks):
                    self._begin()
            return
        self._gathered.discard(task)
        if task in self._waiting:
            return
        while (number := self._block_of(task)) is not None and self._past(self.blocks[number].until, place):
            self._miss(number)
            self._over[number] = True
        if number is not None and self._meets(self.blocks[number].until, place):
            self._counts[number] = self._counts.get(number, 0) + 1
            if self._counts[number] >= self.blocks[number].until.times:
                self._over[number] = True
                self._waiting.add(task)
        self._advance()

    @staticmethod
    def _past(until: Place, place: Place) -> bool:
        """Whether a task that is at `place` cannot come to where it should be held any more."""
        return until.kind != "waits" and place.kind == "call" and place.call > until.call

    @staticmethod
    def _meets(until: Place, place: Place) -> bool:
        if place.kind == "entry":
            return until.kind == "entry" and until.functions[:1] == place.functions[:1]
        return until.kind == "call" and until.call == place.call

    def _miss(self, number: int) -> None:
        self.late += 1
        until = self.blocks[number].until
        if until.kind == "entry" and number not in self._counts:
            self.missed.add(until.functions[0])

    def adopt(self, blocks: Sequence[Block]) -> None:
        """Other blocks from the next round on; none is under way."""
        self.blocks = tuple(blocks)
        self.at = len(self.blocks)
        self._over = [True] * len(self.blocks)
        self.missed.clear()

    def give_up(self) -> None:
        """The present block did not end where it should in the time that it had."""
        if self.running:
            if not self.waits:
                self._miss(self.at)
            self._over[self.at] = True
            self._advance()

    def _block_of(self, task: str) -> int | None:
        """The block of a task that is to end next."""
        return next(
            (
                n
                for n in range(self.at, len(self.blocks))
                if self.blocks[n].task == task and not self._over[n]
            ),
            None,
        )

    def _begin(self) -> None:
        if self.rounds and self.running:
            self.rounds[-1] = self.at - self.late
        self.at = self.late = 0
        self._over = [False] * len(self.blocks)
        self._counts = {}
        self.rounds.append(0)
        self._advance()

    def _advance(self) -> None:
        while self.running and self._over[self.at]:
            self.at += 1
        if self.running:
            self._waiting.discard(self.blocks[self.at].task)
        else:
            self._waiting.clear()
        if self.rounds:
            self.rounds[-1] = self.at - self.late


@attrs.frozen
class Plan:
    """A schedule to be followed, and what it comes to when nobody looks after rules.

    Attributes:
        hangs: it does not end; then nothing else is looked for.
        outcome: else its results and files, in the words of `compare`.
        telling: schedules without a failure do not come to this outcome, as far as was looked.
        lost: blocks of the schedule that cannot end where they should.
    """

    blocks: tuple[Block, ...]
    hangs: bool = False
    outcome: str = ""
    telling: bool = False
    lost: int = 0

    @property
    def worth(self) -> tuple[int, int, int]:
        """Less is easier to follow: blocks that end elsewhere, waits that have to come about, blocks."""
        return (
            self.lost + sum(not block.until.exact for block in self.blocks),
            sum(block.until.kind == "waits" for block in self.blocks),
            len(self.blocks),
        )

    def on(self, known: Iterable[str]) -> Plan:
        """The plan with functions that a kernel has; a block that cannot end where it should goes on into the next."""
        there = set(known)
        found: list[Block] = []
        lost = 0
        for block in self.blocks:
            until = block.until
            if until.kind == "entry":
                names = [name for name in until.functions if name in there]
                if not names:
                    lost += 1
                    continue
                times = until.times if names[0] == until.functions[0] else 1
                until = attrs.evolve(until, functions=(names[0],), times=times)
            found.append(attrs.evolve(block, until=until))
        return attrs.evolve(self, blocks=tuple(_joined(found)), lost=lost)
