"""docs/record.md: up to date, true of what the recordings' kernels had, and its script makes what `follow` reads."""

from __future__ import annotations

import gzip
import json
import re
import runpy
import subprocess
from pathlib import Path

import pytest

from gmemsim.follow.ftrace import TraceError
from gmemsim.follow.probes import HINTS, PROBES
from gmemsim.follow.trace import load_trace
from gmemsim.lab import probes as lab

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.skipif(
    not DOCS.is_dir(), reason="the pages are in the repository, not in the package"
)


@pytest.fixture(scope="module")
def made() -> dict[str, object]:
    return runpy.run_path(str(DOCS / "generate_record.py"))


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "record.md").read_text(encoding="utf-8")


def test_the_page_in_the_tree_is_up_to_date(made: dict[str, object], page: str) -> None:
    assert callable(made["page"])
    assert page == made["page"](), "run: python docs/generate_record.py"


def test_every_name_that_follow_reads_has_a_row(page: str) -> None:
    rows = re.findall(r"^\| `(\w+?)(?:_SUFFIX)?` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted({*PROBES, *HINTS} - {"zero_begin", "uptodate_set"} | set(rows))
    assert {"zero_begin", "uptodate_set"} <= set(rows)
    assert len(rows) == len(set(rows)) == len(PROBES) + len(HINTS)


def had(metadata: dict[str, list[str]]) -> set[str]:
    found = (re.fullmatch(r"(?:PROBE|RET|TP) (\S+).* ok", line) for line in metadata["probes"])
    return {match[1].rpartition("/")[2] for match in found if match}


def check(made: dict[str, object], folder: Path, release: str) -> None:
    some, releases = made["SOME"], made["RELEASES"]
    assert isinstance(some, dict)
    assert isinstance(releases, tuple)
    assert release in releases
    files = sorted(folder.glob("*.json"))
    assert files
    listed = {*lab.PROBES, *lab.RETURNS, *(event.rpartition("/")[2] for event in lab.EVENTS)}
    expected = {
        name
        for name in listed & {*PROBES, *HINTS}
        if release in some.get(name.removesuffix("_ret"), releases)
    }
    for file in files:
        assert had(json.loads(file.read_bytes())) & listed & {*PROBES, *HINTS} == expected, file


@pytest.mark.parametrize("release", ["6.18.15", "7.2.13"])
def test_what_the_kernels_of_the_carried_recordings_had(
    made: dict[str, object], carried: Path, release: str
) -> None:
    check(made, carried / release, release.rpartition(".")[0])


@pytest.mark.parametrize("folder", ["linux-6.12.107-custom", "linux-7.3.4-debian"])
def test_what_the_other_kernels_had(made: dict[str, object], beside: Path, folder: str) -> None:
    check(made, beside / folder, ".".join(folder.split("-")[1].split(".")[:2]))


def test_the_script_makes_metadata_that_follow_reads(page: str, carried: Path, tmp_path: Path) -> None:
    script = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    tracefs = tmp_path / "tracefs"
    for event in lab.EVENTS[:3]:
        (tracefs / "events" / event).mkdir(parents=True)
    functions = {function for function, _ in lab.PROBES.values()} - {"kvm_arch_gmem_reclaim"}
    suffixed = {"kvm_gmem_get_folio": "kvm_gmem_get_folio.isra.0"}
    symbols = [f"0000000000000000 t {suffixed.get(name, name)}\t[kvm]\n" for name in sorted(functions)]
    symbols += ["0 t kvm_arch_gmem_reclaim.cold\n", "0 D kvm_arch_gmem_reclaim\n"]
    (tmp_path / "kallsyms").write_text("".join(symbols))
    script = script.replace("/sys/kernel/tracing", str(tracefs)).replace(
        "/proc/kallsyms", str(tmp_path / "kallsyms")
    )
    subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, check=True)

    written = (tracefs / "kprobe_events").read_text().split("\n")
    assert "p:g/get_pfn kvm_gmem_get_pfn gfn=%dx:x64" in written
    assert "p:g/get_folio kvm_gmem_get_folio.isra.0 index=%si:x64" in written
    assert "r64:g/get_pfn_ret kvm_gmem_get_pfn ret=$retval:s32" in written
    assert not any("reclaim" in line for line in written)
    text = gzip.decompress((carried / "7.2.13" / "sh_same_v2.trace.gz").read_bytes()).decode()
    # That recording had two probes more, at places within a function, which the script sets none at.
    more = re.compile(r" (zero_begin|uptodate_set)_\w+: ")
    lines = [line for line in text.splitlines(keepends=True) if not more.search(line)]
    (tmp_path / "my.trace").write_text(
        "".join(line for line in lines if not line.startswith("# entries-in-buffer"))
    )
    trace = load_trace(tmp_path / "my.trace")
    assert trace.probes_from == "metadata"
    assert trace.absent == {"arch_reclaim"}
    expected = {kind for name, kind in PROBES.items() if name in {*lab.PROBES, *lab.RETURNS}}
    expected |= {"page_cache_add", "page_cache_delete", "page_fault"}
    assert trace.probed == expected - {"arch_reclaim"}
    assert trace.release == re.match(r"\d+\.\d+", subprocess.check_output(["uname", "-r"], text=True))[0]  # type: ignore[index] # a release begins so


def test_the_start_line_as_trace_cmd_reports_it(carried: Path, tmp_path: Path) -> None:
    text = gzip.decompress((carried / "7.2.13" / "sh_same_v2.trace.gz").read_bytes()).decode()
    assert text.count(" tracing_mark_write: GMEM start ") == 1
    path = tmp_path / "x.trace"
    path.write_text(text.replace(" tracing_mark_write: GMEM", " print: tracing_mark_write: GMEM"))
    assert load_trace(path).pages == 64
    assert load_trace(path).scenario == "sh_same_v2"


@pytest.mark.parametrize("line", ["CPU:2 [LOST 17 EVENTS]", "x 7/7 [002] 26.9: PERF_RECORD_LOST lost 3"])
def test_a_trace_with_lost_events_is_refused(carried: Path, tmp_path: Path, line: str) -> None:
    text = gzip.decompress((carried / "7.2.13" / "sh_same_v2.trace.gz").read_bytes()).decode()
    path = tmp_path / "x.trace"
    path.write_text(f"{text}{line}\n")
    with pytest.raises(TraceError, match=r"x\.trace:\d+: "):
        load_trace(path)
