"""A state of the run under way, as DPOR sees it: who can go on, who sleeps, what is still to be tried from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .dpor_tree import Branch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...engine.op import Footprint, Op


class Node:
    """A state of the present run and what is to be tried from it; tasks by number.

    Attributes:
        enabled: tasks that can take a step.
        sleep: tasks whose step here would repeat an explored run, with the footprint that it had.
        spinning: those among them that sleep because they went round in a loop.
        wanted: what is to be tried here beside the task under way.
        then: what is to be tried behind the step under way, in this order; empty: whatever comes.
        done: tasks that have been, with what their step touched under any answers of its draws.
        chosen: the one under way; `op` what it announced, `place` where it was in its code, `draws` its answers with
            their bounds.
        touched: what the step of `chosen` has touched so far, over all answers.
        state: digest, if states are remembered.
        future: steps that were taken from here on so far: task and footprint.
    """

    __slots__ = (
        "chosen",
        "done",
        "draws",
        "enabled",
        "future",
        "op",
        "place",
        "sleep",
        "spinning",
        "state",
        "then",
        "touched",
        "wanted",
    )

    def __init__(
        self, enabled: tuple[int, ...], sleep: dict[int, Footprint], chosen: Branch, state: bytes
    ) -> None:
        self.enabled = enabled
        self.sleep = sleep
        self.state = state
        self.future: set[tuple[int, Footprint]] = set()
        self.spinning: set[int] = set()
        self.wanted: list[Branch] = []
        self.done: dict[int, Footprint] = {}
        self.choose(chosen)

    def choose(self, branch: Branch) -> None:
        self.chosen = branch.task
        self.then = branch.then
        self.op: Op | None = None
        self.place: tuple[int, ...] = ()
        self.draws: list[list[int]] = []
        self.touched: Footprint = ()

    def next(self) -> bool:
        """Choose what is wanted first and can be tried; False if there is nothing."""
        while self.wanted:
            branch = self.wanted.pop(0)
            if branch.task in self.enabled and branch.task not in self.done and branch.task not in self.sleep:
                self.choose(branch)
                return True
        return False

    def want(self, tasks: Iterable[int]) -> None:
        """Have these tried, whatever they do."""
        known = {self.chosen, *self.done, *self.sleep, *(branch.task for branch in self.wanted)}
        self.wanted += [Branch(task) for task in tasks if task not in known]


class Finished(NamedTuple):
    """A state from which everything was tried: what was done from there on, and who was asleep there."""

    future: frozenset[tuple[int, Footprint]]
    sleep: frozenset[int]
