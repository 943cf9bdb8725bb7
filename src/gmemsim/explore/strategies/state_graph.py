"""The graph of states that a state-caching search draws, and the loops in it that nobody can leave.

A task that waits by going round (a fault that is retried, a spinner) makes a cycle of states. Under a fair scheduler it
ends as soon as some step leads out of it: every task that can run does so after a while, and every draw of luck comes
out each way in the end. A set of states that reach each other and that no step leaves is another matter: whoever is in
there stays there under every scheduler. That is a livelock. So the strongly connected components without a way out are
looked for (Tarjan 1972), once all steps from their states are known.

A fault that fires is not bound to happen, so a step on which one did leads nobody out.
"""

from __future__ import annotations

from typing import Final

#: In place of a state: the run ended there, well or not.
END: Final = -1


class StateGraph:
    """States by number, from 0, the initial one.

    Attributes:
        ways: for each state, the one that it was first reached from and the answers in between.
        by_task: where a step of that task leads from that state, if no other choice was made in it.
        left_out: steps that were not taken from a state, by state and task, since both orders with the step that led
            there are the same: the state before that step, and whose step it was.
    """

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._next: list[list[int]] = []
        self.ways: list[tuple[int, tuple[int, ...]]] = []
        self.by_task: dict[tuple[int, int], int] = {}
        self.left_out: dict[tuple[int, int], tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._next)

    def number(self, digest: bytes) -> int:
        """Of a state; `END` if it is new."""
        return self._numbers.get(digest, END)

    def add(self, digest: bytes, before: int, answers: tuple[int, ...]) -> int:
        """A new state, reached from `before` (`END`: it is the first) by these answers."""
        number = self._numbers[digest] = len(self._next)
        self._next.append([])
        self.ways.append((before, answers))
        return number

    def link(self, before: int, after: int) -> None:
        """A step leads from one to the other, or to `END`."""
        following = self._next[before]
        if after not in following:
            following.append(after)

    def digests(self) -> list[bytes]:
        """Of all states, in the order of their numbers."""
        return list(self._numbers)

    def following(self, state: int) -> list[int]:
        """Where the steps from a state lead, as far as they were taken."""
        return self._next[state]

    def answers(self, state: int) -> list[int]:
        """All answers on the way to a state."""
        parts: list[tuple[int, ...]] = []
        while state != END:
            state, answers = self.ways[state]
            parts.append(answers)
        return [answer for part in reversed(parts) for answer in part]

    def complete(self) -> set[int]:
        """Add the steps that were left out; states for which that cannot be done, since too little is known yet."""
        waiting = [key for key in self.left_out if key not in self.by_task]
        while True:
            still = []
            for state, task in waiting:
                before, other = self.left_out[state, task]
                first = self.by_task.get((before, task), END)
                after = self.by_task.get((first, other), END)
                if after == END:
                    still.append((state, task))
                else:
                    self.by_task[state, task] = after
                    self.link(state, after)
            if len(still) == len(waiting):
                return {state for state, _ in still}
            waiting = still

    def traps(self, unfinished: set[int]) -> list[list[int]]:
        """Sets of states that no step leaves, each in the order in which they were found.

        Args:
            unfinished: states from which not every step was taken; a set with one of them is not judged.
        """
        found = []
        for part in self._components():
            inside = set(part)
            following = [after for state in part for after in self._next[state]]
            if following and not inside & unfinished and all(after in inside for after in following):
                found.append(sorted(part))
        return sorted(found)

    def _components(self) -> list[list[int]]:
        """Strongly connected components (Tarjan, without recursion)."""
        count = len(self._next)
        index = [0] * count
        low = [0] * count
        on_stack = bytearray(count)
        stack: list[int] = []
        found: list[list[int]] = []
        clock = 0
        for root in range(count):
            if index[root]:
                continue
            work = [(root, 0)]
            while work:
                state, position = work.pop()
                if not position:
                    clock += 1
                    index[state] = low[state] = clock
                    stack.append(state)
                    on_stack[state] = 1
                following = self._next[state]
                descended = False
                while position < len(following):
                    after = following[position]
                    position += 1
                    if after == END:
                        continue
                    if not index[after]:
                        work += [(state, position), (after, 0)]
                        descended = True
                        break
                    if on_stack[after]:
                        low[state] = min(low[state], index[after])
                if descended:
                    continue
                if low[state] == index[state]:
                    part = []
                    while True:
                        member = stack.pop()
                        on_stack[member] = 0
                        part.append(member)
                        if member == state:
                            break
                    found.append(part)
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[state])
        return found
