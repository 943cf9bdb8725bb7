"""A boot: QEMU with a kernel and the runner, its results line by line, its console kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import attrs

from .errors import LabError
from .fronts import prepare
from .wire import decode_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .kernels import Kernel

_PR_SET_PDEATHSIG: Final = 1
#: Of the console, kept in memory.
_MOST_CONSOLE: Final = 4 << 20


@attrs.frozen(kw_only=True)
class Machine:
    """How the virtual machine is made.

    Attributes:
        accel: `tcg`, which emulates SVM on any machine, or `kvm`, which is faster and needs nested virtualization.
        cpus: virtual CPUs.
        memory: MiB.
        debug: with QEMU's debugger stub at a socket, for `holds`.
        seconds: after which a boot is ended, whatever it does; 0: never.
        silence: seconds without a line before the first and between two, after which it is taken for dead.
        front: one of `FRONTS`; `auto`: virtme-ng where it is installed, else the initramfs.
        nodes: NUMA nodes, with an equal part of CPUs and memory each.
    """

    accel: str = "tcg"
    cpus: int = 4
    memory: int = 2048
    debug: bool = False
    seconds: float = 0
    silence: float = 180
    front: str = "initramfs"
    nodes: int = 1


class Boot:
    """One boot. `lines` runs it; leaving the `with` block ends QEMU, whatever happened.

    Attributes:
        console: what the kernel said, so far.
        debugger: socket of the debugger stub, if the machine has one.
        ended: why there are no more lines: `off` (the runner switched off), `stuck`, `died`, `silent`, `time`.
    """

    def __init__(
        self, machine: Machine, kernel: Kernel, files: Mapping[str, bytes], cache: Path | None = None
    ) -> None:
        self.machine = machine
        self.console = bytearray()
        self.ended = ""
        self.began = monotonic()
        self._folder = tempfile.TemporaryDirectory(prefix="gmemsim-lab-")
        folder = Path(self._folder.name)
        self.debugger = folder / "debugger"
        try:
            command = prepare(machine, kernel, files, folder, cache)
            # QEMU's pipe is two: it writes .out and reads .in.
            for name in ("results.in", "results.out"):
                os.mkfifo(folder / name)
        except OSError as error:
            self._folder.cleanup()
            raise LabError(f"{error.filename or folder.parent}: {error.strerror}") from None
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        libc = ctypes.CDLL(None)
        # A Ctrl-C waits until the process can be ended.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A Ctrl-C in the terminal is ours to answer.
            start_new_session=True,
            # Linux kills it when we are killed, so that no QEMU is left behind.
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 # one system call
        )
        threads = (self._read_console, self._read_results)
        self._threads = [threading.Thread(target=thread, args=(folder,), daemon=True) for thread in threads]
        for thread in self._threads:
            thread.start()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Boot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End QEMU, and virtme-ng if that started it, and wait for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        # A reader that never saw the other end of its pipe would wait for ever.
        with contextlib.suppress(OSError):
            os.close(os.open(Path(self._folder.name) / "results.out", os.O_WRONLY | os.O_NONBLOCK))
        for thread in self._threads:
            thread.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._folder.cleanup()

    def _read_console(self, _folder: Path) -> None:
        assert self._process.stdout is not None
        while chunk := self._process.stdout.read1(1 << 16):  # type: ignore[attr-defined] # a buffered reader
            if len(self.console) < _MOST_CONSOLE:
                self.console += chunk
        self._lines.put(None)

    def _read_results(self, folder: Path) -> None:
        with (folder / "results.out").open("rb") as results:
            for line in results:
                self._lines.put(line)

    def raw_lines(self) -> Iterator[bytes]:
        """Lines of the second serial port until the boot ends."""
        while True:
            wait = self.machine.silence
            if self.machine.seconds:
                wait = min(wait, self.machine.seconds - (monotonic() - self.began))
            try:
                line = self._lines.get(timeout=max(wait, 0.01))
            except Empty:
                late = self.machine.seconds and monotonic() - self.began >= self.machine.seconds
                self.ended = "time" if late else "silent"
                return
            if line is None:
                # What was written before the end may still be under way.
                self._threads[1].join(2)
                while not self._lines.empty():
                    left = self._lines.get()
                    if left is not None:
                        yield left
                self.ended = self.ended or "died"
                return
            yield line

    def lines(self) -> Iterator[dict[str, Any] | bytes]:
        """Objects of the runner; anything else, such as ftrace text, as bytes."""
        for line in self.raw_lines():
            found = decode_line(line)
            if found is None:
                yield line
                continue
            if found["kind"] in ("end", "stuck"):
                self.ended = "off" if found["kind"] == "end" else "stuck"
            yield found
            if self.ended:
                return

    def said(self, words: Sequence[str]) -> list[str]:
        """Lines of the console with one of these words."""
        text = self.console.decode("utf-8", "replace").replace("\r", "")
        return [line for line in text.splitlines() if any(word in line for word in words)]

    def need_kernel(self) -> LabError:
        """The error for a boot that came to nothing."""
        last = [line for line in self.console.decode("utf-8", "replace").splitlines() if line.strip()][-1:]
        return LabError(
            f"the kernel did not come up ({self.ended}): {(last or ['it said nothing'])[0].strip()[:160]}"
        )
