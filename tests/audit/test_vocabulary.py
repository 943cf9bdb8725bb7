"""The vocabulary is whole and free of ambiguity."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from msgspec import structs

import gmemsim.audit
from gmemsim.audit.base import Event, event_name
from gmemsim.audit.kvm_events import PageCacheAdd
from gmemsim.audit.vocabulary import MODULES, name_of, vocabulary


def ours() -> dict[str, type[Event]]:
    return {name: cls for name, cls in vocabulary().items() if cls.__module__.startswith("gmemsim.audit.")}


def test_every_module_of_events_is_listed() -> None:
    folder = Path(gmemsim.audit.__file__).parent
    listed = {Path(module.__file__ or "") for module in MODULES}
    assert listed == {*folder.glob("*events.py"), *folder.glob("*events/*.py")}


def test_every_event_that_a_module_offers_has_its_name_to_itself() -> None:
    # The package offers what its modules do, and has no list of its own.
    classes = {getattr(module, name) for module in MODULES for name in getattr(module, "__all__", ())}
    names = Counter(name_of(cls) for cls in classes)
    assert names.most_common(1)[0][1] == 1
    assert {name: ours()[name] for name in names} == {name_of(cls): cls for cls in classes}
    assert set(ours()) == set(names), "an event is missing from __all__"


def test_names_are_the_class_names_in_snake_case() -> None:
    assert event_name("PageCacheAdd") == name_of(PageCacheAdd) == "page_cache_add"
    for name, cls in ours().items():
        assert name == event_name(cls.__name__)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)


def test_every_event_says_what_it_is() -> None:
    for cls in ours().values():
        assert cls.mirrors, cls
        assert cls.family, cls
        assert cls.__doc__, cls
        assert cls.__doc__.strip().splitlines()[0].endswith((".", "…")) or "\n" in cls.__doc__, cls


def test_every_range_says_what_it_counts() -> None:
    """Comparisons and reports would take guest frames for pages of a file."""
    for cls in ours().values():
        ranged = {"start", "end"} <= {field.name for field in structs.fields(cls)}
        assert bool(cls.range_of) == ranged, cls


def test_no_field_takes_the_name_of_a_line_s_own_keys() -> None:
    for cls in ours().values():
        assert not {"seq", "t", "actor", "event"} & {field.name for field in structs.fields(cls)}, cls


def test_fields_are_plain_values() -> None:
    assert {field.type for cls in ours().values() for field in structs.fields(cls)} == {int, str, bool}
