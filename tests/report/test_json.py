"""The report as JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.report.cases import CASES
from tests.report.reports import TOKEN, report

from gmemsim.report.json import as_json

ROOT = Path(__file__).parents[2]
DIGEST = """
import sys, hashlib, importlib, msgspec
sys.path.insert(0, sys.argv[1])
reports = importlib.import_module("tests.report.reports")
from gmemsim.report.html import render_html
from gmemsim.report.json import as_json
from gmemsim.report.text import render_text
from gmemsim.report.trace_events import trace_events
digest = hashlib.sha256()
for name in ("abba", "unmet", "recheck"):
    made = reports.report(name)
    digest.update(msgspec.json.encode(as_json(made)) + msgspec.json.encode(trace_events(made)))
    digest.update((render_html(made) + render_text(made)).encode())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("name", sorted(CASES))
def test_document(name: str) -> None:
    """Plain values only; what other tools rely on is there."""
    made = report(name)
    document = as_json(made)
    assert msgspec.json.decode(msgspec.json.encode(document)) == document
    assert document["rule"] == made.rule
    assert document["replay"] == TOKEN
    assert [step["step"] for step in document["steps"]] == [step.number for step in made.steps]
    assert {step["step"] for step in document["steps"] if step["matters"]} == made.shown
    (failed,) = (step for step in document["steps"] if "!" in step["marks"])
    assert failed["step"] == made.moment.step
    assert (
        document["nearest"]["position"] == made.nearest.position
        if made.nearest
        else document["nearest"] is None
    )
    assert document["not_seen"]


def test_events() -> None:
    """Each event with its fields, the kernel function it mirrors, and where in the code it was."""
    events = [event for step in as_json(report("abba"))["steps"] for event in step["events"]]
    (zap,) = (event for event in events if event["event"] == "zap")
    assert zap["mirrors"] == "kvm_mmu_unmap_gfn_range, kvm_unmap_gfn_range"
    assert (zap["start"], zap["end"], zap["filter"]) == (0x100, 0x101, "shared")
    assert zap["in"][-1] == "kvm_unmap_gfn_range"
    assert zap["call"] == 1


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    """Every rendering, in processes that order their sets differently."""
    digests = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", DIGEST, str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        digests.add(done.stdout)
    assert len(digests) == 1
