"""The compact RMP is a dictionary of entries, whatever is done to it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gmemsim.arch.rmp_entries import RmpEntries, RmpEntry

ENTRIES = st.builds(
    RmpEntry,
    assigned=st.booleans(),
    asid=st.integers(0, 0xFFFF),
    gfn=st.integers(0, (1 << 40) - 1),
    level=st.sampled_from([1, 2]),
    immutable=st.booleans(),
    validated=st.booleans(),
)
FRAMES = st.integers(0, 1535)
STEPS = st.one_of(
    st.tuples(st.just("set"), FRAMES, ENTRIES),
    st.tuples(st.just("pop"), FRAMES, st.none()),
    st.tuples(st.just("region"), st.integers(0, 2), st.one_of(st.none(), ENTRIES)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
def test_it_is_a_dictionary(steps: list[tuple[str, int, RmpEntry | None]]) -> None:
    entries, plain = RmpEntries(), dict[int, RmpEntry]()
    for what, where, entry in steps:
        if what == "pop":
            assert entries.pop(where, None) == plain.pop(where, None)
        elif what == "set":
            assert entry is not None
            entries[where] = plain[where] = entry
        else:
            entries.set_region(where, entry)
            for offset in range(512):
                plain.pop(where * 512 + offset, None)
                if entry is not None:
                    follows = entry._replace(level=1, gfn=entry.gfn + offset) if offset else entry
                    plain[where * 512 + offset] = follows
        assert len(entries) == len(plain)
        assert bool(entries) == bool(plain)
    assert dict(entries) == plain
    assert set(entries) == set(plain)
    for frame in (0, 1, 511, 512, 1535):
        assert (frame in entries) == (frame in plain)
        assert entries.get(frame) == plain.get(frame)


def test_many_single_entries_become_a_table() -> None:
    entries, plain = RmpEntries(), dict[int, RmpEntry]()
    for pfn in range(512, 512 + 400):
        entries[pfn] = plain[pfn] = RmpEntry(True, 3, pfn * 7)
    for pfn in range(520, 560):
        del entries[pfn], plain[pfn]
    assert dict(entries) == plain
    assert entries.whole(1) is None
    entries.set_region(1, None)
    assert not entries
