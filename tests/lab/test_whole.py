"""Files that appear whole or not at all: recordings and results on a disk that is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gmemsim.bad_input import BadInput
from gmemsim.lab.errors import LabError
from gmemsim.lab.kernels import find_kernel
from gmemsim.lab.machine import Boot, Machine
from gmemsim.lab.recording import check_folder
from gmemsim.whole_files import write_whole

from .test_boot import fake_kernel


def full(_path: Path, data: bytes) -> int:
    if b"large" in data:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with _path.open("wb") as file:
        return file.write(data)


def test_of_two_files_none_is_left_if_the_second_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    files = {folder / "a.json": b"small", folder / "a.trace.gz": b"small, too"}
    write_whole(files)
    assert {path.name for path in folder.iterdir()} == {"a.json", "a.trace.gz"}
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInput, match=r"b\.trace\.gz: No space left on device"):
        write_whole({folder / "b.json": b"small", folder / "b.trace.gz": b"large"})
    assert {path.name for path in folder.iterdir()} == {"a.json", "a.trace.gz"}
    # What was there stays.
    with pytest.raises(BadInput):
        write_whole({folder / "a.json": b"other", folder / "a.trace.gz": b"large"})
    assert (folder / "a.json").read_bytes() == b"small"


def test_a_folder_of_recordings_is_looked_at_before_a_kernel_boots(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "one")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "one"):
        with pytest.raises(LabError, match="file is no folder"):
            check_folder(path)
    assert not (tmp_path / "new").exists()


def test_a_full_disk_for_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kernel = find_kernel(str(fake_kernel(tmp_path / "kernels" / "7.3.4", "7.3.4")))

    def refuse(*_: object) -> list[str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("gmemsim.lab.machine.prepare", refuse)
    with pytest.raises(BadInput, match=f"{tmp_path}: No space left on device"):
        Boot(Machine(), kernel, {})
    assert not list(tmp_path.glob("gmemsim-lab-*"))
