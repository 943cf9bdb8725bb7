"""Output files: whole or not at all, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from gmemsim.cli.errors import InputError
from gmemsim.cli.group import cli
from gmemsim.cli.output_files import check_directory, check_writable, write_whole


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


def test_devices_pipes_and_links_that_lead_nowhere_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "null.jsonl").symlink_to("/dev/null")
    (tmp_path / "one.jsonl").symlink_to("two.jsonl")
    (tmp_path / "two.jsonl").symlink_to("one.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    for name in before:
        result = CliRunner().invoke(cli, ["run", "same", "--small", "--log", str(tmp_path / name)])
        assert (result.exit_code, "not a regular file" in result.stderr) == (2, True), name
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["explore", "FOLDER/same.toml", "--html", "FOLDER/same.toml"],
        ["explore", "FOLDER/same.toml", "--html", "FOLDER/../FOLDER_NAME/same.toml"],
        ["explore", "same", "--patch", "FOLDER/mine.py:Mine", "--trace", "FOLDER/mine.py"],
        ["replay", "@FOLDER/token", "--html", "FOLDER/token"],
        ["explore", "same", "--html", "FOLDER/x", "--trace", "FOLDER/x"],
    ],
)
def test_a_command_does_not_write_over_what_it_reads(arguments: list[str], tmp_path: Path) -> None:
    for name in ("same.toml", "mine.py", "token"):
        (tmp_path / name).write_text("what was there")
    words = [
        word.replace("FOLDER_NAME", tmp_path.name).replace("FOLDER", str(tmp_path)) for word in arguments
    ]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "is what the command reads" in result.stderr or "is given for two files" in result.stderr
    assert {path.read_text() for path in tmp_path.iterdir()} == {"what was there"}
