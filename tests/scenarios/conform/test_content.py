"""Bytes of a page in a token."""

from __future__ import annotations

from random import Random

from gmemsim.arch.memory import CIPHER, STALE, ZERO
from gmemsim.scenarios.conform.content import read_bytes, whole, write_bytes


def test_whole_pages() -> None:
    assert whole(0) == ZERO
    assert read_bytes(whole(0xAA), 0, 4096) == {0xAA}
    assert write_bytes("data:11", 0, 4096, 0) == ZERO


def test_unknown_bytes_equal_nothing() -> None:
    for token in (STALE, CIPHER, "data:guest-wrote-this"):
        assert read_bytes(token, 0, 1) == {None}
    mixed = write_bytes(STALE, 8, 16, 7)
    assert read_bytes(mixed, 8, 16) == {7}
    assert read_bytes(mixed, 7, 9) == {None, 7}


def test_against_a_plain_array() -> None:
    """Random writes give what an array of bytes gives."""
    random = Random(3)
    for _ in range(200):
        page = [0] * 4096
        token = ZERO
        for _ in range(random.randrange(1, 8)):
            start = random.randrange(4096)
            end = random.randrange(start + 1, 4097)
            byte = random.randrange(4)
            page[start:end] = [byte] * (end - start)
            token = write_bytes(token, start, end, byte)
        start = random.randrange(4096)
        end = random.randrange(start + 1, 4097)
        assert read_bytes(token, start, end) == set(page[start:end])
