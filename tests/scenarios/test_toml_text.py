"""Tables written as text are read as the same tables."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.toml_text import toml_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), TEXT)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
TABLES = st.dictionaries(TEXT, VALUES, max_size=3)


@pytest.mark.parametrize("name", names())
def test_the_library_comes_back(name: str) -> None:
    raw = load_named(name).source.raw
    text = toml_text(raw)
    assert tomllib.loads(text) == raw
    assert loads(text).name == load_named(name).name


@given(st.dictionaries(TEXT, st.one_of(TABLES, st.lists(TABLES, min_size=1, max_size=3)), max_size=3))
def test_any_tables_come_back(values: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(values)) == values


def test_long_lists_are_wrapped() -> None:
    ops = [{"op": "touch", "count": number} for number in range(9)]
    text = toml_text({"task": [{"ops": ops}]})
    assert max(map(len, text.splitlines())) < 60


def test_what_toml_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError, match="a scenario holds no NoneType"):
        toml_text({"task": [{"ops": None}]})
