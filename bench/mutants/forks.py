"""Tests collected once, then run in forks of that process, one test after another, each with its limit of CPU time."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from places import PACKAGE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds without CPU time after which a mutant's test counts as hanging.
SILENCE = 120
OPTIONS = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-o",
    "addopts=--import-mode=importlib -m 'not long'",
)


class Driver:
    """Takes pytest's place once the tests are collected."""

    def __init__(self, work: Callable[[Driver, list[pytest.Item]], None]) -> None:
        self.work = work
        self.failed = ""
        self.skipped = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """The first failure, in a line."""
        self.skipped = self.skipped or report.skipped
        if report.failed and not self.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = str(getattr(crash, "message", report.longrepr or "")).strip()
            self.failed = f"{report.nodeid}: {text.splitlines()[0] if text else report.when}"[:200]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of the loop over all tests."""
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        # Modules that a test would import first are here already, so that a change finds them.
        for path in sorted(PACKAGE.rglob("*.py")):
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
            if not path.stem.startswith("__main"):
                with contextlib.suppress(ImportError):
                    __import__(name)
        self.work(self, list(session.items))
        return True

    def fork(self, work: Callable[[int], None]) -> tuple[list[str], str]:
        """Have a process of its own group do it and write lines; the lines, and how it ended ('' if well)."""
        read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            os.close(read)
            code = 0
            try:
                gc.disable()
                work(write)
            except BaseException as error:
                text = "".join(traceback.format_exception(error))
                os.write(write, json.dumps({"error": text[-2000:]}).encode() + b"\n")
                code = 3
            os._exit(code)
        os.close(write)
        os.set_blocking(read, False)
        said, ended, cpu, since = b"", "", 0.0, time.monotonic()
        try:
            while True:
                done, status = os.waitpid(child, os.WNOHANG)
                with contextlib.suppress(BlockingIOError):
                    while more := os.read(read, 1 << 20):
                        said += more
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    ended = "" if not code else "no end" if code == -signal.SIGVTALRM else f"exit {code}"
                    break
                if (used := used_by(child)) > cpu + 0.05:
                    cpu, since = used, time.monotonic()
                elif time.monotonic() - since > SILENCE:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    ended = "no end"
                    break
                time.sleep(0.01)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.close(read)
        return said.decode().splitlines(), ended


def used_by(process: int) -> float:
    """Seconds of CPU time, with those of its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def cpu() -> float:
    """Of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run_item(items: list[pytest.Item], at: int, limit: float) -> None:
    """One of several tests that run in this order; SIGVTALRM ends the process when it takes too long."""
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    item = items[at]
    following = items[at + 1] if at + 1 < len(items) else None
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def collect(work: Callable[[Driver, list[pytest.Item]], None], tests: list[str]) -> int:
    """Let pytest collect them, and go on from there."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        own = ("-o", "tmp_path_retention_policy=none", f"--basetemp={folder}/tests")
        return int(pytest.main([*OPTIONS, *own, *(tests or ["tests"])], plugins=[Driver(work)]))
