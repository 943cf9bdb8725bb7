"""Waits for locks in ftrace text, counted as perf counts them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
waits_of = runpy.run_path(str(BENCH / "lock_waits.py"))["waits_of"]

TEXT = """# tracer: nop
           vcpu0-133     [001] ...1.    27.500000: contention_begin: 000000007de34875 (flags=SPIN|READ)
           vcpu0-133     [001] ...1.    27.500001: <stack trace>
 => trace_event_raw_event_contention_begin
 => queued_read_lock_slowpath
 => kvm_tdp_page_fault
 => kvm_mmu_do_page_fault
            host-134     [002] ...1.    27.500002: contention_begin: 0000000011111111 (flags=MUTEX|SPIN)
            host-134     [002] ...1.    27.500003: <stack trace>
 => __mutex_lock.constprop.0
 => kvm_set_memory_region
           vcpu0-133     [001] ...1.    27.500012: contention_end: 000000007de34875 (ret=0)
            host-134     [002] ...1.    27.500022: contention_begin: 0000000011111111 (flags=MUTEX)
            host-134     [002] ...1.    27.500042: contention_end: 0000000011111111 (ret=0)
           vcpu1-135     [003] ...1.    27.600000: contention_begin: 000000007de34875 (flags=READ)
"""


def test_waits_are_by_type_and_caller_the_longest_in_sum_first() -> None:
    found = waits_of([TEXT, TEXT])
    assert [(row.kind, row.caller, row.count) for row in found] == [
        ("mutex", "kvm_set_memory_region", 2),
        ("rwlock:R", "kvm_tdp_page_fault", 2),
    ]
    # A mutex that spins first begins twice: it counts from the first.
    assert [row.total for row in found] == pytest.approx([80e-6, 24e-6])
    assert [row.longest for row in found] == pytest.approx([40e-6, 12e-6])


def test_text_without_waits_has_none() -> None:
    assert waits_of(["", "# tracer: nop\n"]) == []
