"""Names in pictures."""

from __future__ import annotations

from gmemsim.contention.questions.picture import to_svg
from gmemsim.contention.questions.study import Chart
from gmemsim.contention.svg import steady_names


def test_names_by_hash_are_numbered() -> None:
    svg = b'<path id="m0123456789"/><use xlink:href="#m0123456789" clip-path="url(#pabcdef0123)"/>'
    assert steady_names(svg) == b'<path id="m1"/><use xlink:href="#m1" clip-path="url(#p2)"/>'


def test_what_is_no_name_stays() -> None:
    svg = b'<a fill="#b0b0b0" id="axes_1" id="m01234567890"/><text>#pabcdef0123 "m0123456789"</text>'
    assert steady_names(svg) == svg


def test_no_name_by_hash_is_left() -> None:
    svg = to_svg([Chart("a title", "x", "y", {"one": [(1, 2.0), (2, 4.0)]})])
    assert b'id="p' in svg
    assert steady_names(svg) == svg
