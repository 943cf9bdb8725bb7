"""First and last line of a log."""

from __future__ import annotations

import pytest

from gmemsim.audit.header import Header, end_line, parse_end


def test_the_line_and_its_key_order() -> None:
    header = Header(
        "punch1_v4", "v3", "snp", 7, {"vcpus": 4, "costs": "default", "thp": True, "commit": None}
    )
    assert header.line() == (
        b'{"log":"gmemsim","schema":1,"scenario":"punch1_v4","patch":"v3","arch":"snp","seed":7,'
        b'"commit":null,"costs":"default","thp":true,"vcpus":4}\n'
    )
    assert Header.parse(header.line()[:-1]) == header


def test_a_run_without_seed() -> None:
    assert Header.parse(Header("s").line()) == Header("s")


def test_further_context_cannot_take_a_fixed_place() -> None:
    with pytest.raises(ValueError, match="'patch' has a place of its own"):
        Header(more={"patch": "v3"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", 'expected the header {"log":"gmemsim",…}, found an empty line'),
        (b"# tracer: nop", 'expected the header {"log":"gmemsim",…}, found # tracer: nop'),
        (b"\x00\xff\x1b[1m", "found \\x00\\xff\\x1b[1m"),
        (b'{"log":"other","schema":1}', 'found {"log":"other","schema":1}'),
        (b'["log"]', 'found ["log"]'),
        (b'{"log":"gmemsim","schema":2}', "expected schema 1, found 2"),
        (b'{"log":"gmemsim","schema":true}', "expected schema 1, found true"),
        (b'{"log":"gmemsim"}', "expected schema 1, found null"),
        (b'{"log":"gmemsim","schema":1,"scenario":"s","patch":"p","seed":1}', "the header has no 'arch'"),
        (
            b'{"log":"gmemsim","schema":1,"scenario":"s","patch":"p","arch":"a","seed":"1"}',
            "header, 'seed': expected int or null, found \"1\"",
        ),
        (
            b'{"log":"gmemsim","schema":1,"scenario":"s","patch":"p","arch":"a","seed":true}',
            "header, 'seed': expected int or null, found true",
        ),
        (
            b'{"log":"gmemsim","schema":1,"scenario":"s","patch":"p","arch":"a","seed":1,"x":[]}',
            "header, 'x': expected a string",
        ),
    ],
)
def test_what_is_no_header(line: bytes, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is the subject
        Header.parse(line)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_end_line() -> None:
    assert end_line(12) == b'{"end":"gmemsim","events":12}\n'
    assert parse_end(end_line(12)[:-1]) == 12
    assert parse_end(b'{"end":"gmemsim","events":-1}') is None
    assert parse_end(b'{"end":"gmemsim","events":1}x') is None
