"""Executions of `dpor` beside the number of Mazurkiewicz traces, on programs that model checkers are compared on.

    python bench/dpor_counts.py

`dpor:0` remembers no states. An execution is *blocked* if it ended since everybody was asleep: it repeated others.
*Traces* is the number of classes of schedules that differ in the order of independent steps: published, with its
source, or counted here by running every schedule (`brute force`; an order of writes that nobody reads counts, as it
does not for a tool with observers). A critical section of one lock is one step, as is a compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import TYPE_CHECKING, Any, Final

from gmemsim.engine.cell import Cell
from gmemsim.engine.op import dependent
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.dfs import DepthFirst
from gmemsim.explore.strategies.dpor import Dpor

if TYPE_CHECKING:
    from gmemsim.engine.engine import Engine
    from gmemsim.engine.op import Op
    from gmemsim.engine.task import Task

Body = Callable[["Task", list[Cell[Any]]], Any]

#: Abdulla, Aronis, Jonsson and Sagonas, "Optimal dynamic partial order reduction": tables 1 and 2.
POPL: Final = "POPL 2014"
#: benchmarks/SWSC_experiment/summary.txt in Nidhugg's repository, the column in which the order of all writes
#: counts; its programs are in the folders beside it.
NIDHUGG: Final = "Nidhugg's table"
#: benchmarks/results/results.txt there.
RESULTS: Final = "Nidhugg's results"


def program(name: str, cells: int, *bodies: Body) -> TaskProgram:
    """One task a body, on so many cells that begin as 0."""

    def setup(engine: Engine) -> Callable[[], object]:
        shared: list[Cell[Any]] = [Cell(f"x{number}", 0) for number in range(cells)]
        for number, body in enumerate(bodies):
            engine.spawn(f"t{number}", body, shared)
        return lambda: [cell.value for cell in shared]

    return TaskProgram(name, setup)


def stores(*cells: int) -> Body:
    async def body(t: Task, x: list[Cell[Any]]) -> None:
        for cell in cells:
            await x[cell].store(t, t.ident + 1)

    return body


def loads(*cells: int) -> Body:
    async def body(t: Task, x: list[Cell[Any]]) -> None:
        for cell in cells:
            await x[cell].load(t)

    return body


def readers(count: int) -> TaskProgram:
    """One writer, `count` readers of one cell."""
    return program(f"readers({count})", 1, stores(0), *[loads(0)] * count)


def lastzero(count: int) -> TaskProgram:
    """One task looks for the last zero of an array, the others each make an element one more than its neighbour."""

    async def looks(t: Task, x: list[Cell[Any]]) -> None:
        at = count
        while await x[at].load(t):
            at -= 1

    def writes(at: int) -> Body:
        async def body(t: Task, x: list[Cell[Any]]) -> None:
            value = await x[at - 1].load(t)
            await x[at].store(t, value + 1)

        return body

    return program(f"lastzero({count})", count + 1, looks, *map(writes, range(1, count + 1)))


def filesystem(threads: int, inodes: int = 32, blocks: int = 26) -> TaskProgram:
    """Each thread takes a free block for its inode (Flanagan and Godefroid, POPL 2005)."""

    def takes(number: int) -> Body:
        async def body(t: Task, x: list[Cell[Any]]) -> None:
            inode = number % inodes
            if await x[inode].load(t):
                return
            block = inode * 2 % blocks
            while await x[inodes + block].rmw(t, lambda busy: 2 if busy else 1) == 2:
                block = (block + 1) % blocks
            await x[inode].store(t, block + 1)

        return body

    return program(f"filesystem({threads})", inodes + blocks, *map(takes, range(threads)))


def indexer(threads: int, size: int, most: int) -> TaskProgram:
    """Each thread puts messages into one hash table by compare-and-swap (the same paper)."""

    def puts(number: int) -> Body:
        async def body(t: Task, x: list[Cell[Any]]) -> None:
            for message in range(1, most + 1):
                value = message * 11 + number
                at = value * 7 % size
                while await x[at].rmw(t, lambda old, value=value: old or value) != value:  # type: ignore[misc]
                    at = (at + 1) % size

        return body

    return program(f"indexer({threads}), table of {size}", size, *map(puts, range(threads)))


def floating_read(count: int) -> TaskProgram:
    """`count` writers and a reader of one cell."""
    return program(f"floating_read({count})", 1, *[stores(0)] * count, loads(0))


def co_2_2w(count: int) -> TaskProgram:
    """`count` tasks write one cell, twice each."""
    return program(f"CO-2+2W({count})", 1, *[stores(0, 0)] * count)


def lastwrite(count: int) -> TaskProgram:
    """`count` tasks write one cell."""
    return program(f"lastwrite({count})", 1, *[stores(0)] * count)


def deposits(count: int) -> TaskProgram:
    """`count` deposits and a withdrawal of one balance, none of them atomic."""

    async def adds(t: Task, x: list[Cell[Any]]) -> None:
        balance = await x[0].load(t)
        await x[0].store(t, balance + 1)

    return program(f"account({count})", 1, *[adds] * (count + 1))


def airline(count: int) -> TaskProgram:
    """`count` counters sell the same seats, one less than there are counters, until somebody says that all are sold."""

    async def sells(t: Task, x: list[Cell[Any]]) -> None:
        if await x[1].load(t):
            return
        sold = await x[0].load(t)
        if sold >= count - 1:
            await x[1].store(t, 1)
        else:
            await x[0].store(t, sold + 1)

    return program(f"airline({count})", 2, *[sells] * count)


def circular_buffer(rounds: int) -> TaskProgram:
    """A sender and a receiver, `rounds` critical sections of one lock each."""

    async def turns(t: Task, x: list[Cell[Any]]) -> None:
        for _ in range(rounds):
            await x[0].rmw(t, lambda turn: turn ^ 1)

    return program(f"circular_buffer({rounds})", 1, turns, turns)


def fibonacci(rounds: int) -> TaskProgram:
    """Two numbers, each made the sum of both by loads and a store; a third task looks at both."""

    def adds(mine: int) -> Body:
        async def body(t: Task, x: list[Cell[Any]]) -> None:
            for _ in range(rounds):
                value = await x[mine].load(t)
                other = await x[1 - mine].load(t)
                await x[mine].store(t, value + other)

        return body

    return program(f"fib_bench({rounds})", 2, adds(0), adds(1), loads(0, 1))


def adders(count: int) -> TaskProgram:
    """Each adds one in one step."""

    async def adds(t: Task, x: list[Cell[Any]]) -> None:
        await x[0].rmw(t, lambda value: value + 1)

    return program(f"fetch_add({count})", 1, *[adds] * count)


def cas_loop(count: int) -> TaskProgram:
    """Each reads, then compares and swaps, until that works."""

    async def adds(t: Task, x: list[Cell[Any]]) -> None:
        while True:
            seen = await x[0].load(t)
            if await x[0].rmw(t, lambda now, seen=seen: seen + 10 if now == seen else now) == seen + 10:  # type: ignore[misc]
                return

    return program(f"cas_loop({count})", 1, *[adds] * count)


def account() -> TaskProgram:
    """A deposit, a withdrawal and a check of one balance."""

    async def deposits(t: Task, x: list[Cell[Any]]) -> None:
        await x[0].rmw(t, lambda balance: balance + 3)
        await x[1].store(t, 1)

    async def withdraws(t: Task, x: list[Cell[Any]]) -> None:
        await x[0].rmw(t, lambda balance: balance - 1)
        await x[2].store(t, 1)

    async def checks(t: Task, x: list[Cell[Any]]) -> None:
        if await x[1].load(t) and await x[2].load(t):
            await x[0].load(t)

    return program("account, with a look", 3, deposits, withdraws, checks)


def fib_bench(rounds: int) -> TaskProgram:
    """Two tasks, each adding the other's number to its own."""

    def adds(mine: int) -> Body:
        async def body(t: Task, x: list[Cell[Any]]) -> None:
            for _ in range(rounds):
                other = await x[1 - mine].load(t)
                await x[mine].rmw(t, lambda value, other=other: value + other)  # type: ignore[misc]

        return body

    return program(f"fetch_add of the other({rounds})", 2, adds(0), adds(1))


def peterson() -> TaskProgram:
    """Peterson's lock, with one look each instead of a loop."""

    def enters(mine: int) -> Body:
        async def body(t: Task, x: list[Cell[Any]]) -> None:
            await x[mine].store(t, 1)
            await x[2].store(t, 1 - mine)
            if not await x[1 - mine].load(t) or await x[2].load(t) == mine:
                await x[3].store(t, mine)
            await x[mine].store(t, 0)

        return body

    return program("peterson, one look", 4, enters(0), enters(1))


def commit(parts: int) -> TaskProgram:
    """Two-phase commit: participants vote, a coordinator looks at the votes and decides, participants look at that."""

    def votes(number: int) -> Body:
        async def body(t: Task, x: list[Cell[Any]]) -> None:
            await x[number].store(t, 1)
            await x[parts].load(t)

        return body

    async def decides(t: Task, x: list[Cell[Any]]) -> None:
        for number in range(parts):
            if not await x[number].load(t):
                break
        else:
            await x[parts].store(t, 1)

    return program(f"2PC({parts})", parts + 1, *map(votes, range(parts)), decides)


def control_flow() -> TaskProgram:
    """The second example of the paper of 2014: source sets alone come to executions in which everybody sleeps."""

    async def looks(t: Task, x: list[Cell[Any]]) -> None:
        if not await x[0].load(t):
            await x[1].load(t)

    async def waits(t: Task, x: list[Cell[Any]]) -> None:
        if not await x[1].load(t) and not await x[0].load(t):
            await x[2].store(t, 1)

    return program("control flow", 3, stores(0), stores(1), looks, waits)


#: Programs with their number of traces where that is published, and where.
PROGRAMS: Final[tuple[tuple[TaskProgram, int | None, str], ...]] = (
    (readers(2), 4, f"{POPL}: 2^N"),
    (readers(8), 256, f"{POPL}: 2^N"),
    (lastzero(5), 64, f"{POPL}: (N+3) 2^(N-2)"),
    (lastzero(8), 704, f"{POPL}: (N+3) 2^(N-2)"),
    (filesystem(19), 64, POPL),
    (filesystem(18), 32, NIDHUGG),
    (indexer(12, 128, 4), 8, POPL),
    (floating_read(4), 120, NIDHUGG),
    (lastwrite(4), 24, NIDHUGG),
    (co_2_2w(2), 6, NIDHUGG),
    (co_2_2w(4), 2520, NIDHUGG),
    (deposits(2), 36, NIDHUGG),
    (deposits(3), 576, NIDHUGG),
    (airline(3), 36, NIDHUGG),
    (airline(4), 576, NIDHUGG),
    (fibonacci(1), 11, NIDHUGG),
    # Optimal and observers, 140, are under sequential consistency; the other column has 153.
    (fibonacci(2), 140, NIDHUGG),
    (circular_buffer(7), 3432, RESULTS),
    (adders(4), None, ""),
    (cas_loop(2), None, ""),
    (cas_loop(3), None, ""),
    (account(), None, ""),
    (fib_bench(2), None, ""),
    (fib_bench(3), None, ""),
    (program("SB", 2, lambda t, x: _sb(t, x, 0), lambda t, x: _sb(t, x, 1)), None, ""),
    (program("2+2W", 2, stores(0, 1), stores(1, 0)), None, ""),
    (peterson(), None, ""),
    (commit(2), None, ""),
    (control_flow(), None, ""),
)


async def _sb(t: Task, x: list[Cell[Any]], mine: int) -> None:
    """Store buffering, one side."""
    await x[mine].store(t, 1)
    await x[1 - mine].load(t)


def traces(what: TaskProgram, most: int = 200_000) -> int | None:
    """Classes of all schedules: the steps of each task, and the order of each two that are dependent.

    None: there are more than `most` schedules.
    """
    found: set[object] = set()
    strategy = DepthFirst()
    for _ in range(most):
        run = what.build(strategy)
        if not strategy.begin(run.engine):
            return len(found)
        steps: list[tuple[int, Op]] = []
        run.engine.watch_steps(lambda task, steps=steps: steps.append((task.ident, task.pending)))  # type: ignore[misc]
        run.run()
        count: dict[int, int] = {}
        named = []
        for ident, op in steps:
            count[ident] = count.get(ident, 0) + 1
            named.append((ident, count[ident], op))
        order = frozenset(
            (*named[first][:2], *later[:2])
            for at, later in enumerate(named)
            for first in range(at)
            if dependent(named[first][2], later[2])
        )
        found.add((frozenset(named), order))
    return None


def executions(what: TaskProgram) -> Dpor:
    """The strategy after a whole search."""
    strategy = Dpor(0)
    result = search(what, strategy, Limits(schedules=None), keep_going=True)
    assert result.complete
    return strategy


def main() -> None:
    print(
        "| program | traces | from | executions of `dpor:0` | of them blocked | s |\n|---|--:|---|--:|--:|--:|"
    )
    for what, known, source in PROGRAMS:
        count = traces(what) if known is None else known
        began = process_time()
        strategy = executions(what)
        took = process_time() - began
        print(
            f"| {what.name} | {'?' if count is None else f'{count:,}'} | {source or 'brute force'} | "
            f"{strategy.schedules:,} | {strategy.blocked:,} | {took:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
