"""The canonical line, and logs that are there whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from gmemsim.audit.errors import LogError
from gmemsim.audit.events import Lock
from gmemsim.audit.header import Header
from gmemsim.audit.kvm_events import Fallocate, GetPfn, HostTouch, InvStartRet, PageCacheAdd
from gmemsim.audit.reader import read_log
from gmemsim.audit.recorder import Entry, Recorder
from gmemsim.audit.render import LogWriter, render_lines, write_log

HEADER = Header("punch1_v4", "v3", "snp", 7)
ENTRIES: list[Entry] = [
    (0, "vcpu0", GetPfn(3, 19)),
    (120, "host:0", Lock("gmem0[3]", "w")),
    (120, "vcpu0", PageCacheAdd(19, 4096, 0)),
    (1_000_000_000_000, 'a "b"\n\\é', HostTouch(19, True, '}\n{"event":"x",')),
    (1_000_000_000_000, "punch0", Fallocate(True, 0, 8)),
    (1_000_000_000_001, "punch0", InvStartRet()),
]
TEXT = (
    b'{"log":"gmemsim","schema":1,"scenario":"punch1_v4","patch":"v3","arch":"snp","seed":7}\n'
    b'{"seq":0,"t":0,"actor":"vcpu0","event":"get_pfn","gfn":3,"index":19}\n'
    b'{"seq":1,"t":120,"actor":"host:0","event":"lock","lock":"gmem0[3]","mode":"w"}\n'
    b'{"seq":2,"t":120,"actor":"vcpu0","event":"page_cache_add","index":19,"pfn":4096,"order":0}\n'
    b'{"seq":3,"t":1000000000000,"actor":"a \\"b\\"\\n\\\\\xc3\xa9","event":"host_touch","index":19,'
    b'"write":true,"value":"}\\n{\\"event\\":\\"x\\","}\n'
    b'{"seq":4,"t":1000000000000,"actor":"punch0","event":"fallocate","punch":true,"start":0,"end":8}\n'
    b'{"seq":5,"t":1000000000001,"actor":"punch0","event":"inv_start_ret"}\n'
    b'{"end":"gmemsim","events":6}\n'
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_canonical_bytes(tmp_path: Path) -> None:
    assert write_log(tmp_path / "run.jsonl", ENTRIES, HEADER) == 6
    assert (tmp_path / "run.jsonl").read_bytes() == TEXT
    assert names(tmp_path) == ["run.jsonl"]


def test_compressed_is_the_same_text_in_one_checked_frame(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.zst"
    write_log(path, ENTRIES, HEADER)
    data = path.read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(data) == TEXT
    assert zstandard.get_frame_parameters(data).has_checksum


def test_level_1(tmp_path: Path) -> None:
    entries: list[Entry] = [(i, f"vcpu{i % 8}", GetPfn(i * 7919 % 997, i)) for i in range(20_000)]
    path = tmp_path / "run.jsonl.zst"
    write_log(path, entries)
    text = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())

    def size(level: int) -> int:
        return len(zstandard.ZstdCompressor(level=level, write_checksum=True).compress(text))

    assert size(1) != size(3)
    assert abs(path.stat().st_size - size(1)) < 50, "streaming differs by frame header only"


def test_numbers_go_on_over_batches() -> None:
    entries: list[Entry] = [(i, "vcpu0", GetPfn(i, i)) for i in range(10_000)]
    text = b"".join(render_lines(entries, seq=5))
    assert text.count(b"\n") == 10_000
    assert text.startswith(b'{"seq":5,"t":0,')
    assert b'\n{"seq":10004,"t":9999,' in text


def test_a_recorder_can_be_written(tmp_path: Path) -> None:
    class Task:
        name = "vcpu0"

        class engine:
            now = 0

    recorder = Recorder()
    recorder.rec(Task(), GetPfn(3, 19))
    assert write_log(tmp_path / "run.jsonl", recorder) == 1


@pytest.mark.parametrize("name", ["run", "run.json", "run.zst", "run.jsonl.gz", "jsonl", "run.jsonl.zst.tmp"])
def test_another_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(LogError) as caught:
        write_log(tmp_path / name, ENTRIES, HEADER)
    assert str(caught.value) == f"{tmp_path / name}: the name of a log ends in .jsonl or .jsonl.zst"
    assert names(tmp_path) == []


def test_no_such_directory(tmp_path: Path) -> None:
    path = tmp_path / "no" / "run.jsonl"
    with pytest.raises(LogError) as caught:
        write_log(path, ENTRIES, HEADER)
    assert str(caught.value) == f"{path}: No such file or directory"


def test_a_directory_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.mkdir()
    with pytest.raises(LogError, match="Is a directory"):
        write_log(path, ENTRIES, HEADER)
    assert names(tmp_path) == ["run.jsonl"]


def breaks(error: BaseException) -> Iterator[Entry]:
    yield from ENTRIES
    yield from [(0, "x", GetPfn(0, 0))] * 5000
    raise error


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.zst"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("model")])
def test_a_failure_leaves_the_old_log_and_nothing_else(
    tmp_path: Path, name: str, error: BaseException
) -> None:
    path = tmp_path / name
    with pytest.raises(type(error)):
        write_log(path, breaks(error), HEADER)
    assert names(tmp_path) == []
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_log(path, breaks(error), HEADER)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [name]


def test_a_failure_at_the_very_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(LogError, match=r"run\.jsonl: Permission denied"):
        write_log(tmp_path / "run.jsonl", ENTRIES, HEADER)
    assert names(tmp_path) == []


def test_the_name_is_there_only_when_the_log_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with LogWriter(path, HEADER) as log:
        log.write(ENTRIES)
        assert not path.exists()
        (new,) = tmp_path.iterdir()
        assert new.parent == path.parent, "same directory: the move is one step"
    assert names(tmp_path) == ["run.jsonl"]


def test_access_rights_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_log(tmp_path / "run.jsonl", ENTRIES)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "run.jsonl").stat().st_mode) == 0o640
    (tmp_path / "run.jsonl").chmod(0o600)
    write_log(tmp_path / "run.jsonl", ENTRIES)
    assert stat.S_IMODE((tmp_path / "run.jsonl").stat().st_mode) == 0o600


def test_writing_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "run.jsonl"
    link.symlink_to(tmp_path / "real" / "run.jsonl")
    write_log(link, ENTRIES, HEADER)
    assert link.is_symlink()
    assert (tmp_path / "real" / "run.jsonl").read_bytes() == TEXT


def test_bit_by_bit_is_the_same_file(tmp_path: Path) -> None:
    for in_place in (False, True):
        with LogWriter(tmp_path / "run.jsonl", HEADER, in_place=in_place) as log:
            for entry in ENTRIES:
                log.write([entry])
        assert (tmp_path / "run.jsonl").read_bytes() == TEXT


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.zst"])
def test_in_place_keeps_what_a_crash_left(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    def crash() -> None:
        with LogWriter(path, HEADER, in_place=True) as log:
            log.write(ENTRIES[:2])
            # What another process sees while the run goes on.
            assert [record.event for record in read_log(path, partial=True)] == [
                GetPfn(3, 19),
                Lock("gmem0[3]", "w"),
            ]
            log.write(ENTRIES[2:4])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash()
    assert len(list(read_log(path, partial=True))) == 4
    with pytest.raises(LogError, match="truncated: expected the end line after 4 events"):
        list(read_log(path))


def test_a_writer_outside_its_block(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        LogWriter(tmp_path / "run.jsonl").write(ENTRIES)


SAME = """
import sys
from gmemsim.audit.kvm_events import Create
from gmemsim.audit.render import write_log
from gmemsim.audit.header import Header
flags = ",".join(sorted({"MMAP", "INIT_SHARED", "x", "y"}))
entries = [(n, "vmm", Create("gmem0", n, flags, 0)) for n in range(50)]
write_log(sys.argv[1], entries, Header(more={"b": 1, "a": 2}))
"""


def test_hash_seed_does_not_matter(tmp_path: Path) -> None:
    logs = []
    for seed in "01":
        path = tmp_path / f"{seed}.jsonl"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", SAME, str(path)], env=environment, check=True)
        logs.append(path.read_bytes())
    assert logs[0] == logs[1]
