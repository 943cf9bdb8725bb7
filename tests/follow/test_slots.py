"""Recordings in which the file's slot is deleted and made again, on Linux 7.3.4 with a mended module."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.follow.alterations import in_time

from gmemsim.follow.calls import calls_of
from gmemsim.follow.follower import follow
from gmemsim.follow.result import FollowResult
from gmemsim.follow.search import Bounds
from gmemsim.follow.trace import load_trace
from gmemsim.patches.registry import load_patch

HERE = Path(__file__).parent / "mended"
MENDED = "mainline-7.3+error-bindings-lock"


def followed(path: Path, patch: str = MENDED) -> FollowResult:
    return follow(load_trace(path), load_patch(patch), bounds=Bounds(window=16, seconds=None))


@pytest.mark.parametrize("number", [0, 2, 4])
@pytest.mark.parametrize("patch", [MENDED, "mainline-7.3"])
def test_deletion_and_creation_are_calls_and_are_followed(number: int, patch: str) -> None:
    path = HERE / f"slot_delete-{number}.trace.gz"
    result = followed(path, patch)
    assert result.accepted, result.rejected_at
    trace = load_trace(path)
    calls = [call for name in trace.threads for call in calls_of(trace, name)[0] if call.kind == "set_region"]
    assert [call.args for call in calls] == [(0, 0, 0, 0), (0x10000, 1, 0, 0)]
    assert result.matched == len([step for step in trace.steps if step.name != "io_sched"])


def test_faults_that_are_emulated_from_an_entry_are_no_calls() -> None:
    trace = load_trace(HERE / "slot_delete-0.trace.gz")
    assert trace.ignored["kvm_page_fault (from an MMIO entry)"] > 10
    assert "kvm_page_fault (from an MMIO entry)" not in load_trace(HERE / "slot_delete-2.trace.gz").ignored


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[Callable[[list[str]], list[str]]], FollowResult]:
    """Follow the second recording with its lines changed."""

    def answer(change: Callable[[list[str]], list[str]]) -> FollowResult:
        lines = gzip.decompress((HERE / "slot_delete-2.trace.gz").read_bytes()).decode().splitlines()
        path = tmp_path / "altered.trace.gz"
        path.write_bytes(gzip.compress(("\n".join(in_time(change(lines))) + "\n").encode()))
        shutil.copy(HERE / "slot_delete-2.json", tmp_path / "altered.json")
        return followed(path)

    return answer


Altered = Callable[[Callable[[list[str]], list[str]]], FollowResult]


def where(lines: list[str], *words: str) -> list[int]:
    return [number for number, line in enumerate(lines) if all(word in line for word in words)]


def refused(result: FollowResult, why: str) -> None:
    assert result.verdict == "rejected"
    assert result.rejected_at is not None
    assert why in result.rejected_at.reason


def test_a_retry_before_the_deletion_began_is_refused(altered: Altered) -> None:
    def change(lines: list[str]) -> list[str]:
        begin = where(lines, " set_region:", "size=0x0")[0]
        retries = where(lines, "faultin_ret:", "ret=1")
        return [*lines[:begin], *lines[begin + 1 : retries[1]], lines[begin], *lines[retries[1] :]]

    refused(altered(change), "would not retry here")


def test_a_fault_without_a_slot_after_the_creation_is_refused(altered: Altered) -> None:
    def change(lines: list[str]) -> list[str]:
        last = where(lines, "tdp_map_ret:", "ret=2")[-1]
        begin = max(number for number in where(lines, "kvm_page_fault:") if number < last)
        fault = lines[begin : last + 2]
        return [*lines[:-1], *fault, lines[-1]]

    refused(altered(change), "finds a slot at gfn 0x10000")


def test_a_page_before_the_slot_is_made_again_is_refused(altered: Altered) -> None:
    def change(lines: list[str]) -> list[str]:
        begin = where(lines, " set_region:", "size=0x1000")[0]
        return [*lines[:begin], *lines[begin + 1 : -2], lines[begin], *lines[-2:]]

    refused(altered(change), "finds no slot at gfn 0x10000")


def test_another_errno_is_refused(altered: Altered) -> None:
    def change(lines: list[str]) -> list[str]:
        end = where(lines, "set_region_ret:")[1]
        return [*lines[:end], lines[end].replace("ret=0", "ret=-17"), *lines[end + 1 :]]

    refused(altered(change), "returns 0 here")


def test_of_another_slot_nothing_is_asked(altered: Altered) -> None:
    def change(lines: list[str]) -> list[str]:
        end = where(lines, "set_region_ret:")[1]
        begin = where(lines, " set_region:", "size=0x1000")[0]
        other = lines[begin].replace("slot=0", "slot=5")
        return [*lines[: end + 1], other, lines[end], *lines[end + 1 :]]

    assert altered(change).accepted
