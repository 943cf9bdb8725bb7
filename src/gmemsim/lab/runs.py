"""Programs on a kernel: many in one boot, another boot when a kernel dies or hangs, and what came of each."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import attrs

from .errors import LabError
from .fetch import need
from .fronts import front_of, virtme_name
from .image import guest_files
from .machine import Boot, Machine
from .wire import Result, read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .holds import Holder
    from .kernels import Kernel
    from .translate import Program, Steering

#: Words of lines in which the kernel complains.
COMPLAINTS: Final = (
    "blocked for more than", "is blocked on", "likely owned by", "WARNING:", "BUG:", "Oops", "Kernel panic", "RIP:",
)  # fmt: skip
#: Boots in a row that bring no program to its end.
_MOST_IDLE_BOOTS: Final = 3


@attrs.define
class Runs:
    """What came of one program.

    Attributes:
        results: each result and how often it came, in the order of their first time.
        rounds: that ended.
        refused: what the kernel refused in the setup, or empty.
        hung: the round that did not end, and for each task the operation that it was at (-1: none); else None.
        stacks: of the threads of a hang, name and state first.
        kernel_said: complaints of the kernel's while it hung.
        died: how the runner's process ended, if badly: a signal's number, or the boot's end.
        traces: ftrace text a round, and events lost.
        seconds: in the guest.
    """

    program: Program
    results: dict[Result, int] = attrs.field(factory=dict)
    rounds: int = 0
    refused: str = ""
    hung: tuple[int, tuple[int, ...]] | None = None
    stacks: list[str] = attrs.field(factory=list)
    kernel_said: list[str] = attrs.field(factory=list)
    died: str = ""
    traces: list[tuple[bytes, int]] = attrs.field(factory=list)
    seconds: float = 0.0
    ended: bool = False


@attrs.define
class KernelRuns:
    """What came of programs on one kernel.

    Attributes:
        runs: in the order of the programs.
        boots: how many it took, and how each ended.
        about: what the runner said of the kernel.
        probes: what became of each probe, as the follower reads it.
        interrupted: Ctrl-C, or no more time.
        holders: what held tasks in each boot, if any were.
        front: what the last boot was made with.
    """

    kernel: Kernel
    runs: list[Runs]
    boots: list[str] = attrs.field(factory=list)
    about: dict[str, Any] = attrs.field(factory=dict)
    probes: list[str] = attrs.field(factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    console: bytes = b""
    holders: list[Holder] = attrs.field(factory=list)
    front: str = ""


def run_programs(
    kernel: Kernel,
    programs: Sequence[Program],
    steering: Steering,
    *,
    machine: Machine | None = None,
    probes: str = "",
    cache: Path | None = None,
    say: Callable[[str], None] = lambda _text: None,
    done: Callable[[Runs], None] = lambda _runs: None,
    holder: Callable[[], Holder] | None = None,
) -> KernelRuns:
    """Run the programs one after the other. Ctrl-C ends QEMU and keeps what came until then.

    Args:
        probes: text for the runner (`probes.py`), if rounds are to be traced.
        holder: makes what holds tasks at places while a boot runs.
        say, done: told of progress, and of each program that ended.

    Raises:
        LabError: the kernel does not come up.
    """
    found = KernelRuns(kernel, [Runs(program) for program in programs])
    machine = machine or Machine()
    need("qemu-system-x86_64")
    began = monotonic()
    idle = 0
    try:
        while any(not run.ended for run in found.runs):
            left = [number for number, run in enumerate(found.runs) if not run.ended]
            text = "".join(programs[number].text(number, steering) for number in left)
            files = {"program": text.encode(), "probes": probes.encode()}
            hold = None if holder is None else holder()
            if hold is not None:
                files["holds"] = hold.names.encode()
                found.holders.append(hold)
            front, why = front_of(machine, kernel)
            found.front = virtme_name() if front == "virtme-ng" else front
            say(
                f"booting {kernel.release} with {found.front}{f' ({why})' if why else ''}, {len(left)} to run"
            )
            with Boot(machine, kernel, guest_files(kernel, files, cache), cache) as boot:
                try:
                    _take(found, boot, done, hold)
                finally:
                    if hold is not None:
                        hold.end()
                    found.console = bytes(boot.console)
                found.boots.append(boot.ended)
                if found.about:
                    _blame(found, boot)
                elif front == "virtme-ng" and machine.front == "auto" and boot.ended != "time":
                    say(f"{found.front}: {boot.need_kernel()}; the initramfs instead")
                    machine = attrs.evolve(machine, front="initramfs")
                    continue
                elif boot.ended not in ("died", "silent") or idle + 1 >= _MOST_IDLE_BOOTS:
                    raise boot.need_kernel()
            ended = sum(run.ended for run in found.runs)
            idle = idle + 1 if ended <= len(found.runs) - len(left) else 0
            if boot.ended == "time" or idle >= _MOST_IDLE_BOOTS:
                break
    except KeyboardInterrupt:
        found.interrupted = True
    found.seconds = monotonic() - began
    return found


def _take(  # noqa: PLR0915 # one kind of line after the other
    found: KernelRuns, boot: Boot, done: Callable[[Runs], None], hold: Holder | None
) -> None:
    """Lines of one boot into the runs."""
    firsts: dict[tuple[int, int], Result] = {}
    traced: bytearray | None = None
    lost = 0
    for line in boot.lines():
        if isinstance(line, bytes):
            if traced is not None:
                traced += line
            continue
        kind, number = line["kind"], line.get("scenario", -1)
        if hold is not None:
            hold.line(boot, line)
        if kind == "kernel":
            if not line["kvm"]:
                raise LabError(
                    f"{found.kernel.release}: no /dev/kvm in it: kvm_amd and kvm_intel do not load"
                )
            found.about = line
            continue
        if kind == "probe":
            found.probes.append(line["text"])
            continue
        if not 0 <= number < len(found.runs):
            continue
        run = found.runs[number]
        if kind == "outcome" and "tasks" in line:
            result = read_result(line, run.program.values)
            run.results[result] = run.results.get(result, 0) + 1
            run.rounds = max(run.rounds, line["round"] + 1)
            firsts.setdefault((number, line["round"]), result)
        elif kind == "count":
            known = firsts.get((number, line["first"]))
            if known is not None:
                run.results[known] = max(run.results[known], line["count"])
        elif kind == "refused":
            run.refused = f"{line['what']}: errno {line['errno']}"
        elif kind == "trace":
            traced, lost = bytearray(), line["lost"]
        elif kind == "trace_end" and traced is not None:
            run.traces.append((bytes(traced), lost))
            traced = None
        elif kind == "done":
            run.rounds, run.seconds = line["rounds"], line["ns"] / 1e9
            run.ended = True
            done(run)
        elif kind == "hung":
            run.hung = (line["round"], tuple(line["at"]))
            run.rounds = line["round"]
        elif kind == "stack":
            run.stacks.append(line["text"])
        elif kind in ("killed", "stuck", "died"):
            run.ended = True
            if kind == "died":
                run.died = f"signal {line['signal']}"
            done(run)


def _blame(found: KernelRuns, boot: Boot) -> None:
    """A boot that ended in the middle of a program: the kernel's words for it, and the next boot goes on after it."""
    last = next((run for run in reversed(found.runs) if run.hung is not None), None)
    said = boot.said(COMPLAINTS)
    if last is None and len(found.runs) == 1:
        last = found.runs[0]
    if last is not None and not last.kernel_said:
        last.kernel_said = said
    if boot.ended in ("off", "stuck", "time"):
        return
    current = next((run for run in found.runs if not run.ended), None)
    if current is not None and current.results:
        # It began: whatever killed the kernel, this one is not tried again.
        current.ended = True
        current.died = f"the boot ended: {boot.ended}"
        current.kernel_said = said
