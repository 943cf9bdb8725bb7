"""Output files: whole or not at all, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gmemsim.cli.errors import InputError
from gmemsim.cli.whole import check_directory, check_writable, write_whole


def test_a_link_stays_one(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    write_whole(link, b"text")
    assert link.is_symlink()
    assert target.read_bytes() == b"text"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(InputError, match="not a regular file"):
            check_writable(None, path)
        with pytest.raises(InputError, match="not a regular file"):
            write_whole(path, b"text")
    assert pipe.is_fifo()


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    check_directory(None)
    check_directory(tmp_path / "file")
    with pytest.raises(InputError, match="no such directory"):
        check_directory(tmp_path / "no" / "file")
