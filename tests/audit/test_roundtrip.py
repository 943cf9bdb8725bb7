"""For events of any class: what was written is what is read, and both ways to write give the same bytes."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from gmemsim.audit.base import Event
from gmemsim.audit.header import Header
from gmemsim.audit.live import LiveLog
from gmemsim.audit.reader import read_log
from gmemsim.audit.recorder import Entry
from gmemsim.audit.render import write_log
from gmemsim.audit.vocabulary import MODULES

CLASSES: list[type[Event]] = [
    getattr(module, name) for module in MODULES for name in getattr(module, "__all__", ())
]
INTEGERS = st.integers(-(1 << 63), (1 << 64) - 1)
VALUES: dict[type, st.SearchStrategy[object]] = {
    int: INTEGERS,
    bool: st.booleans(),
    str: st.text(max_size=20),
}

MODES = st.sampled_from(["r", "w"])


def events_of(cls: type[Event]) -> st.SearchStrategy[Event]:
    return st.builds(
        cls,
        *(
            MODES if cls.family in ("locks", "schedule") and field.name == "mode" else VALUES[field.type]
            for field in structs.fields(cls)
        ),
    )


EVENTS = st.one_of(*(events_of(cls) for cls in CLASSES))
ENTRIES: st.SearchStrategy[list[Entry]] = st.lists(
    st.tuples(st.integers(0, 1 << 62), st.text(max_size=10), EVENTS), max_size=20
).map(lambda entries: sorted(entries, key=lambda entry: entry[0]))
HEADERS = st.builds(
    Header,
    st.text(max_size=9),
    st.text(max_size=9),
    st.text(max_size=9),
    st.none() | INTEGERS,
    st.dictionaries(
        st.text(max_size=5).map("x".__add__),
        st.none() | st.booleans() | INTEGERS | st.text(max_size=9),
        max_size=3,
    ),
)


@given(st.data())
@settings(max_examples=5)
def test_every_class_by_itself(data: st.DataObject) -> None:
    entries: list[Entry] = [(n, "vcpu0", data.draw(events_of(cls))) for n, cls in enumerate(CLASSES)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        write_log(path, entries)
        back = list(read_log(path).entries())
    assert back == entries
    assert [type(event) for _, _, event in back] == CLASSES
    assert [type(value) for _, _, event in back for value in structs.astuple(event)] == [
        field.type for cls in CLASSES for field in structs.fields(cls)
    ]


@given(ENTRIES, HEADERS, st.sampled_from([".jsonl", ".jsonl.zst"]))
def test_any_log(entries: list[Entry], header: Header, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"run{suffix}"
        assert write_log(path, entries, header) == len(entries)
        log = read_log(path)
        assert log.header == header
        assert [(seq, (t, actor, event)) for seq, t, actor, event in log] == list(enumerate(entries))


@given(ENTRIES, HEADERS)
def test_live_output_is_the_same_bytes(entries: list[Entry], header: Header) -> None:
    out = io.BytesIO()
    with LiveLog(header, json=True, file=out) as live:
        live.write(entries)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        write_log(path, entries, header)
        assert out.getvalue() == path.read_bytes()
