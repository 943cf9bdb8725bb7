"""A client of QEMU's debugger stub: break at an address, hold some virtual CPUs while others run.

The guest is not changed by it: QEMU keeps breakpoints beside the translated code.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import attrs

from .errors import LabError

_PACKET: Final = re.compile(rb"\$([^#]*)#[0-9a-f]{2}")
#: SIGTRAP: a breakpoint or the end of a step; SIGINT: our own interruption.
_TRAP: Final = "05"
#: Seconds for an answer.
_PATIENCE: Final = 30.0
#: Numbers of registers of x86-64 as the stub has them.
_RSI, _RDI, _RSP, _RIP = 4, 5, 7, 16


@attrs.frozen
class Stop:
    """Why the machine stands still: `cpu` (from 0) met a breakpoint (or made its step), or it was interrupted."""

    cpu: int
    trap: bool


class Stub:
    """A connection. The machine stands still from when it is made until `go`.

    Raises:
        LabError: nobody answers. So do all methods.
    """

    def __init__(self, path: Path, cpus: int) -> None:
        self.cpus = cpus
        self._data = b""
        self._quiet = False
        self._socket = socket.socket(socket.AF_UNIX)
        began = monotonic()
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if monotonic() - began > _PATIENCE:
                    raise LabError(f"QEMU's debugger stub: {error.strerror}") from None
                sleep(0.05)
        self.ask("QStartNoAckMode")
        self._quiet = True
        # Being connected to stops the machine, of which it may tell at any time until it has.
        while self._receive(0.3) is not None:
            pass

    def close(self) -> None:
        self._socket.close()

    def _send(self, text: str) -> None:
        try:
            self._socket.sendall(b"$%s#%02x" % (text.encode(), sum(text.encode()) & 255))
        except OSError as error:
            raise LabError(f"QEMU's debugger stub: {error.strerror}") from None

    def _receive(self, seconds: float) -> str | None:
        """The next packet, or None."""
        end = monotonic() + seconds
        while not (found := _PACKET.search(self._data)):
            left = end - monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                more = self._socket.recv(4096)
            except TimeoutError:
                return None
            except OSError as error:
                raise LabError(f"QEMU's debugger stub: {error.strerror}") from None
            if not more:
                raise LabError("QEMU's debugger stub: the machine ended")
            self._data += more
        self._data = self._data[found.end() :]
        if not self._quiet:
            self._socket.sendall(b"+")
        return found[1].decode("ascii", "replace")

    def ask(self, text: str) -> str:
        """A command and its answer."""
        self._send(text)
        answer = self._receive(_PATIENCE)
        while answer is not None and answer.startswith("T"):
            answer = self._receive(_PATIENCE)
        if answer is None:
            raise LabError(f"QEMU's debugger stub does not answer {text}")
        return answer

    def break_at(self, address: int) -> None:
        if self.ask(f"Z1,{address:x},1") != "OK":
            raise LabError(f"QEMU's debugger stub takes no breakpoint at {address:#x}")

    def go(self, held: Iterable[int] = ()) -> None:
        """Let all CPUs run but these; the machine is to stand still."""
        stay = set(held)
        free = [cpu for cpu in range(self.cpus) if cpu not in stay]
        self._send("vCont;c" if not stay else "vCont;" + ";".join(f"c:{cpu + 1:x}" for cpu in free))

    def step(self, cpu: int) -> None:
        """One instruction of one CPU, the others standing still, past a breakpoint."""
        self._send(f"vCont;s:{cpu + 1:x}")
        if self.wait(_PATIENCE) is None:
            raise LabError("QEMU's debugger stub: a step does not end")

    def wait(self, seconds: float) -> Stop | None:
        """The next time that the machine stands still; None if it went on all the time."""
        while (text := self._receive(seconds)) is not None:
            found = re.match(r"[TS]([0-9a-f]{2})(?:.*?thread:(?:p[0-9a-f]+\.)?([0-9a-f]+))?", text)
            if found:
                return Stop(int(found[2] or "1", 16) - 1, found[1] == _TRAP)
            if text[:1] in ("W", "X"):
                raise LabError("QEMU's debugger stub: the machine ended")
        return None

    def interrupt(self) -> Stop:
        """Have the machine stand still: for what reason it did, a breakpoint may have been quicker."""
        self._socket.sendall(b"\x03")
        found = self.wait(_PATIENCE)
        if found is None:
            raise LabError("QEMU's debugger stub: the machine does not stop")
        return found

    def where(self, cpu: int) -> tuple[int, int, int]:
        """Address of the next instruction, and the first two arguments of a function that begins there."""
        registers = struct.unpack_from("<17Q", self._registers(cpu))
        return registers[_RIP], registers[_RDI], registers[_RSI]

    def caller(self, cpu: int) -> int:
        """Where the function that begins here returns to."""
        stack = struct.unpack_from("<17Q", self._registers(cpu))[_RSP]
        text = self.ask(f"m{stack:x},8")
        try:
            return int.from_bytes(bytes.fromhex(text), "little")
        except ValueError:
            raise LabError(f"QEMU's debugger stub: the stack is {text[:40]}") from None

    def refuse(self, cpu: int) -> None:
        """Make the first argument of the function that begins here -1."""
        registers = bytearray(self._registers(cpu))
        struct.pack_into("<q", registers, 8 * _RDI, -1)
        if self.ask(f"G{registers.hex()}") != "OK":
            raise LabError("QEMU's debugger stub: registers cannot be set")

    def _registers(self, cpu: int) -> bytes:
        self.ask(f"Hg{cpu + 1:x}")
        text = self.ask("g")
        # What is unknown is written with x.
        try:
            found = bytes.fromhex(text.replace("x", "0"))
        except ValueError:
            found = b""
        if len(found) < 17 * 8:
            raise LabError(f"QEMU's debugger stub: registers are {text[:40]}")
        return found
