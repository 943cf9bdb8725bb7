"""Reading logs, and what is said about damaged ones: file, line, byte, what was expected."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import zstandard

from gmemsim.audit.errors import LogError
from gmemsim.audit.events import Lock
from gmemsim.audit.header import Header, end_line
from gmemsim.audit.kvm_events import GetPfn, HostTouch, InvStartRet, PageCacheAdd
from gmemsim.audit.reader import Record, read_log
from gmemsim.audit.recorder import Entry
from gmemsim.audit.render import render_lines, write_log

HEADER = Header("s", "v3", "snp", 7)
ENTRIES: list[Entry] = [
    (0, "vcpu0", GetPfn(3, 19)),
    (5, "vcpu1", Lock("gmem0[3]", "w")),
    (9, "vcpu0", PageCacheAdd(19, 4096, 0)),
    (9, "punch0", InvStartRet()),
]
LINES = [HEADER.line(), *b"".join(render_lines(ENTRIES)).splitlines(keepends=True), end_line(4)]
STARTS = [sum(map(len, LINES[:number])) for number in range(len(LINES) + 1)]


def text(tmp_path: Path, *lines: bytes, name: str = "run.jsonl") -> Path:
    path = tmp_path / name
    data = b"".join(lines)
    path.write_bytes(zstandard.compress(data) if name.endswith("zst") else data)
    return path


def failure(path: Path) -> tuple[LogError, int]:
    """The error that reading `path` to its end raises, and how many events come first."""
    log = iter(read_log(path))
    error: LogError | None = None
    seen = 0
    while error is None:
        try:
            next(log)
        except LogError as raised:
            error = raised
        else:
            seen += 1
    assert "\n" not in str(error)
    assert len(str(error)) < len(str(path)) + 260
    return error, seen


def test_a_whole_log(tmp_path: Path) -> None:
    log = read_log(text(tmp_path, *LINES))
    assert log.header == HEADER
    assert list(log) == [Record(seq, *entry) for seq, entry in enumerate(ENTRIES)]
    assert list(log.entries()) == ENTRIES, "and again"


def test_a_log_without_events(tmp_path: Path) -> None:
    assert list(read_log(text(tmp_path, HEADER.line(), end_line(0)))) == []


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.zst"])
@pytest.mark.parametrize("events", [999, 5000])
def test_more_than_one_block(tmp_path: Path, name: str, events: int) -> None:
    entries: list[Entry] = [(i, f"vcpu{i}", HostTouch(i, False, "x" * (i % 200))) for i in range(events)]
    write_log(tmp_path / name, entries, HEADER)
    assert list(read_log(tmp_path / name).entries()) == entries


def test_keys_in_another_order_and_spaces_are_fine(tmp_path: Path) -> None:
    line = b'{ "event": "get_pfn", "index": 19, "gfn": 3, "actor": "vcpu0", "t": 0, "seq": 0 }\r\n'
    assert list(read_log(text(tmp_path, HEADER.line(), line, end_line(1)))) == [Record(0, *ENTRIES[0])]


# Each takes the place of the third line, the lock event.
DAMAGED = {
    b'{"seq":1,"t":5,"actor":"v","event":"lock","lock":"g","mode":"q"}': (
        'event \'lock\', field \'mode\': expected "r" or "w", found "q"'
    ),
    b'{"seq":1,"t":-1,"actor":"v","event":"lock","lock":"g","mode":"w"}': "the time runs backwards: t -1 after t 0",
    b'{"seq":1,"t":5,"actor":"vcpu1","event":"lock","lock":"gmem0[3]","mode":"w"': "damaged line, at byte ",
    b'"seq":1,"t":5}': "damaged line, at byte ",
    b'{"seq":1,"t":5,"actor":"v\xff","event":"lock","lock":"g","mode":"w"}': "damaged line",
    b"": "expected an event, found an empty line",
    b"  ": "expected an event, found   ",
    b"[1]": "expected an object, found [1]",
    b'{"seq":1,"t":5,"actor":"vcpu1"}': "expected an event, found a line without field 'event'",
    b'{"seq":1,"t":5,"actor":"vcpu1","event":"lokc","lock":"g","mode":"w"}': (
        "unknown event \"lokc\"; did you mean 'lock'?"
    ),
    b'{"seq":1,"t":5,"actor":"vcpu1","event":7}': "unknown event 7",
    b'{"seq":1,"t":5,"actor":"vcpu1","event":"lock","lock":"g"}': (
        "event 'lock': expected field 'mode', found none"
    ),
    b'{"seq":1,"actor":"vcpu1","event":"lock","lock":"g","mode":"w"}': (
        "event 'lock': expected field 't', found none"
    ),
    b'{"t":5,"actor":"vcpu1","event":"lock","lock":"g","mode":"w"}': (
        "event 'lock': expected field 'seq', found none"
    ),
    b'{"seq":1,"t":5,"actor":"vcpu1","event":"lock","lock":"g","mode":3}': (
        "event 'lock', field 'mode': expected str, found 3"
    ),
    b'{"seq":1,"t":"5","actor":"vcpu1","event":"lock","lock":"g","mode":"w"}': (
        "event 'lock', field 't': expected int, found \"5\""
    ),
    b'{"seq":1,"t":5.5,"actor":"vcpu1","event":"lock","lock":"g","mode":"w"}': (
        "event 'lock', field 't': expected int, found 5.5"
    ),
    b'{"seq":1,"t":5,"actor":"vcpu1","event":"lock","lock":"g","mode":"w","cpu":2}': (
        "event 'lock': unexpected field 'cpu'; its fields are seq, t, actor, event, lock, mode"
    ),
    b'{"seq":2,"t":5,"actor":"vcpu1","event":"lock","lock":"g","mode":"w"}': "expected seq 1, found seq 2",
    b'{"seq":0,"t":5,"actor":"vcpu1","event":"lock","lock":"g","mode":"w"}': "expected seq 1, found seq 0",
    b'{"end":"gmemsim","events":1': "damaged end line: ",
    b'{"end":"gmemsim","events":7}': "the end line states 7 events, found 1",
}


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.zst"])
@pytest.mark.parametrize(("line", "reason"), DAMAGED.items())
def test_a_damaged_line(tmp_path: Path, name: str, line: bytes, reason: str) -> None:
    path = text(tmp_path, LINES[0], LINES[1], line + b"\n", *LINES[3:], name=name)
    error, seen = failure(path)
    assert seen == 1, "what stands before it is read"
    assert (error.path, error.line, error.offset) == (str(path), 3, STARTS[2])
    assert error.reason.startswith(" ".join(reason.split()))
    assert str(error) == f"{path}:3: byte {STARTS[2]}: {error.reason}"
    assert not error.truncated


def test_the_byte_of_the_damage_itself(tmp_path: Path) -> None:
    line = b'{"seq":1,"t":!,"actor":"vcpu1"}\n'
    error, _ = failure(text(tmp_path, *LINES[:2], line, *LINES[3:]))
    assert f"at byte {STARTS[2] + 13}: " in str(error)


@pytest.mark.parametrize("wrong", [4000, 8999, 0])
def test_the_place_in_a_long_log(tmp_path: Path, wrong: int) -> None:
    entries: list[Entry] = [(i, "vcpu0", GetPfn(i, i)) for i in range(9000)]
    lines = [HEADER.line(), *b"".join(render_lines(entries)).splitlines(keepends=True), end_line(9000)]
    # Swapped digits keep the length, and every later line its place.
    before = sum(map(len, lines[: wrong + 1]))
    good = lines[wrong + 1]
    for bad, reason in (
        (
            good.replace(b'"seq":%d,' % wrong, b'"seq":9%d,' % wrong),
            f"expected seq {wrong}, found seq 9{wrong}",
        ),
        (good.replace(b"get_pfn", b"get_fnp"), 'unknown event "get_fnp"'),
    ):
        path = text(tmp_path, *lines[: wrong + 1], bad, *lines[wrong + 2 :])
        error, seen = failure(path)
        assert (seen, error.line, error.offset) == (wrong, wrong + 2, before)
        assert error.reason.startswith(reason)


def test_a_line_that_is_missing_or_there_twice(tmp_path: Path) -> None:
    error, seen = failure(text(tmp_path, *LINES[:2], *LINES[3:]))
    assert (seen, error.line, error.reason) == (1, 3, "expected seq 1, found seq 2")
    error, seen = failure(text(tmp_path, *LINES[:3], *LINES[2:]))
    assert (seen, error.line, error.reason) == (2, 4, "expected seq 2, found seq 1")


def test_more_after_the_end_line(tmp_path: Path) -> None:
    error, seen = failure(text(tmp_path, *LINES, LINES[1]))
    assert (seen, error.line, error.offset) == (4, 7, STARTS[6])
    assert error.reason.startswith("expected the end of the file after the end line, found {")


@pytest.mark.parametrize("lines", range(1, 6))
def test_cut_off_between_lines(tmp_path: Path, lines: int) -> None:
    path = text(tmp_path, *LINES[:lines])
    error, seen = failure(path)
    assert (seen, error.line, error.offset) == (lines - 1, lines + 1, STARTS[lines])
    assert error.reason == (
        f"truncated: expected the end line after {lines - 1} events, found the end of the file"
    )
    assert error.truncated
    assert len(list(read_log(path, partial=True))) == lines - 1


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_cut_off_inside_a_line(tmp_path: Path, kept: int) -> None:
    path = text(tmp_path, *LINES[:3], LINES[3][:kept])
    error, seen = failure(path)
    assert (seen, error.line, error.offset) == (2, 4, STARTS[3])
    assert error.reason == f"truncated: the line breaks off after {len(LINES[3][:kept])} bytes"
    assert len(list(read_log(path, partial=True))) == 2


def test_partial_does_not_excuse_damage(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="expected seq 1"):
        list(read_log(text(tmp_path, *LINES[:2], *LINES[3:]), partial=True))
    path = text(tmp_path, *LINES, name="run.jsonl.zst")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(LogError):
        list(read_log(path, partial=True))


def long_zstd(tmp_path: Path) -> tuple[Path, bytes]:
    """A compressed log of several blocks that hardly compresses: a cut loses some events and not all."""
    dice = random.Random(1)
    entries: list[Entry] = [
        (i, "vcpu0", HostTouch(i, True, dice.randbytes(100).hex())) for i in range(10_000)
    ]
    path = tmp_path / "run.jsonl.zst"
    write_log(path, entries, HEADER)
    return path, path.read_bytes()


def test_a_zstd_frame_that_breaks_off(tmp_path: Path) -> None:
    path, data = long_zstd(tmp_path)
    half = len(data) // 2
    path.write_bytes(data[:half])
    error, seen = failure(path)
    assert 1000 < seen < 9000
    assert error.line == seen + 2
    assert error.reason == f"truncated: the zstd frame breaks off after {half} bytes"
    assert len(list(read_log(path, partial=True))) == seen
    # Everything is there but the last byte of the checksum.
    path.write_bytes(data[:-1])
    error, seen = failure(path)
    assert (seen, error.truncated) == (10_000, True)


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 6])
def test_next_to_nothing_of_a_zstd_frame(tmp_path: Path, kept: int) -> None:
    path = text(tmp_path, *LINES, name="run.jsonl.zst")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(LogError) as caught:
        read_log(path)
    found = f"truncated: the zstd frame breaks off after {kept} bytes"
    assert caught.value.reason == (found if kept else "expected a zstd frame, found an empty file")


def test_a_damaged_zstd_frame(tmp_path: Path) -> None:
    path, data = long_zstd(tmp_path)
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 0x55
    path.write_bytes(damaged)
    error, _ = failure(path)
    assert "zstd" in error.reason or "line" in error.reason
    # Only the checksum tells that this one is wrong.
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    error, _ = failure(path)
    assert error.reason == f"damaged zstd data before compressed byte {len(data)}"
    assert not error.truncated


def test_more_after_the_zstd_frame(tmp_path: Path) -> None:
    path = text(tmp_path, *LINES, name="run.jsonl.zst")
    path.write_bytes(path.read_bytes() * 2)
    error, _ = failure(path)
    assert "expected the end of the file after the zstd frame, found more data" in str(error)


def test_the_name_and_the_content_disagree(tmp_path: Path) -> None:
    plain = text(tmp_path, *LINES)
    packed = text(tmp_path, *LINES, name="packed.jsonl.zst")
    packed.rename(tmp_path / "packed.jsonl")
    plain.rename(tmp_path / "plain.jsonl.zst")
    with pytest.raises(
        LogError, match=r"packed\.jsonl: compressed with zstd; its name should end in \.jsonl\.zst"
    ):
        read_log(tmp_path / "packed.jsonl")
    with pytest.raises(
        LogError, match=r"plain\.jsonl\.zst: expected a zstd frame, found none; a plain log's name"
    ):
        read_log(tmp_path / "plain.jsonl.zst")


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"", "expected a header, found an empty file"),
        (LINES[1], "expected the header"),
        (LINES[0].replace(b'"schema":1', b'"schema":2'), "expected schema 1, found 2"),
        (LINES[0][:30], "expected the header"),
    ],
)
def test_the_header_is_checked_at_once(tmp_path: Path, first: bytes, reason: str) -> None:
    path = text(tmp_path, first)
    with pytest.raises(LogError) as caught:
        read_log(path)
    assert str(caught.value).startswith(f"{path}:1: byte 0: {reason}")


def test_no_such_file_and_other_names(tmp_path: Path) -> None:
    with pytest.raises(LogError) as caught:
        read_log(tmp_path / "run.jsonl")
    assert str(caught.value) == f"{tmp_path / 'run.jsonl'}: No such file or directory"
    with pytest.raises(LogError, match=r"run\.log: the name of a log ends in \.jsonl or \.jsonl\.zst"):
        read_log(tmp_path / "run.log")
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(LogError, match="Is a directory"):
        read_log(tmp_path / "d.jsonl")


def test_a_huge_line_is_not_taken_in(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no log: a line of more than 4 MiB"):
        read_log(text(tmp_path, b"x" * (5 << 20)))


def test_errors_cross_process_borders(tmp_path: Path) -> None:
    error, _ = failure(text(tmp_path, *LINES[:3]))
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error)
    assert (back.path, back.line, back.offset, back.truncated) == (error.path, error.line, error.offset, True)


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.zst"])
def test_any_damage_is_a_log_error_or_harmless(tmp_path: Path, name: str) -> None:
    """Bytes changed, cut out or put in at random: never another exception, never another number of events."""
    whole = text(tmp_path, *LINES, name=name).read_bytes()
    dice = random.Random(5)
    path = tmp_path / name
    for _ in range(600):
        data = bytearray(whole)
        at = dice.randrange(len(data))
        kind = dice.randrange(3)
        if kind == 0:
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at : at + dice.randrange(1, 30)]
        else:
            data[at:at] = dice.randbytes(3)
        path.write_bytes(data)
        try:
            events = list(read_log(path))
        except LogError:
            continue
        assert len(events) == 4


def test_times_that_run_backwards_in_a_long_log(tmp_path: Path) -> None:
    entries: list[Entry] = [(5000 if i == 3000 else i, "a", InvStartRet()) for i in range(4000)]
    write_log(tmp_path / "run.jsonl", entries, HEADER)
    error, seen = failure(tmp_path / "run.jsonl")
    assert seen == 3001
    assert error.line == 3003
    assert "the time runs backwards: t 3001 after t 5000" in str(error)
