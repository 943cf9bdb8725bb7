"""The file under a log: plain or zstd by its name, written whole or not at all, read in blocks of lines."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from .errors import LogError

_SUFFIXES = (".jsonl", ".jsonl.zst")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: Level 1 is smaller than level 3 on logs, and faster.
_LEVEL = 1
_READ = 1 << 16
_LEAST_READ = 1 << 8
_MUCH = 1 << 20
#: No line of a log comes near this; a file that has one is no log.
_LONGEST_LINE = 1 << 22


def is_compressed(path: str | os.PathLike[str]) -> bool:
    """Whether the name asks for zstd.

    Raises:
        LogError: the name is neither `*.jsonl` nor `*.jsonl.zst`.
    """
    name = Path(path).name
    if name.endswith(".jsonl.zst"):
        return True
    if name.endswith(".jsonl"):
        return False
    raise LogError(path, f"the name of a log ends in {' or '.join(_SUFFIXES)}")


class LogFile:
    """Bytes on their way into a log file.

    Written to a new file in the same directory, which takes the place of `path` at `commit`; until then
    `path` is what it was, and after `abort` the new file is gone. With `in_place` the bytes go to `path`
    itself, and what was flushed stays there, come what may.

    Raises:
        LogError: the name has another suffix, or the system refuses; also from the methods.
    """

    def __init__(self, path: str | os.PathLike[str], *, in_place: bool = False) -> None:
        self.path = path
        compressed = is_compressed(path)
        # Through a link, as open() would.
        self._target = Path(os.path.realpath(path))
        self._file = self._target
        if not in_place:
            self._file = self._target.with_name(f".{self._target.name[:200]}.{secrets.token_hex(6)}.tmp")
        try:
            if self._target.is_dir():
                raise IsADirectoryError(21, "Is a directory")
            if os.path.lexists(self._target) and not self._target.is_file() and not in_place:
                # A device, a FIFO, or a circle of links: moved into place, the log would take its name.
                raise LogError(path, "not a regular file")
            raw = self._file.open("wb" if in_place else "xb")
        except OSError as error:
            raise self._refused(error) from error
        self._in_place = in_place
        self._raw: BinaryIO = raw
        self._zstd: zstandard.ZstdCompressionWriter | None = None
        if compressed:
            compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
            self._zstd = compressor.stream_writer(raw, closefd=False)

    def write(self, data: bytes) -> None:
        """Append `data`."""
        try:
            (self._zstd or self._raw).write(data)
        except OSError as error:
            raise self._refused(error) from error

    def flush(self) -> None:
        """Bring everything so far to the file, where other processes see it."""
        try:
            if self._zstd is not None:
                self._zstd.flush(zstandard.FLUSH_BLOCK)
            self._raw.flush()
        except OSError as error:
            raise self._refused(error) from error

    def commit(self) -> None:
        """All is written: finish the file and put it in place."""
        try:
            self._close()
            if not self._in_place:
                if self._target.exists():
                    self._file.chmod(self._target.stat().st_mode & 0o7777)
                self._file.replace(self._target)
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError):
                raise self._refused(error) from error
            raise

    def abort(self) -> None:
        """Something went wrong: leave `path` as it was, or with `in_place` as far as it got."""
        try:
            self._close()
        except OSError:
            self._raw.close()
        finally:
            if not self._in_place:
                self._file.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._raw.closed:
            return
        try:
            if self._zstd is not None:
                zstd, self._zstd = self._zstd, None
                zstd.close()  # type: ignore[no-untyped-call]
        finally:
            self._raw.close()

    def _refused(self, error: OSError) -> LogError:
        return LogError(self.path, error.strerror or str(error))


def blocks(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """The decompressed text of a log in pieces of whole lines; only the last may lack its newline.

    Raises:
        LogError: the name has another suffix, the file cannot be read, is not compressed as its name says, or
            its compressed data are damaged or cut off. What can be had before that point is yielded first.
    """
    pieces = _unzstd(path) if is_compressed(path) else _plain(path)
    # Pieces of an unfinished line, joined when its end is there.
    tail: list[bytes] = []
    length = 0
    try:
        for piece in pieces:
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield b"".join((*tail, piece[:cut]))
                tail = [piece[cut:]]
                length = len(piece) - cut
            else:
                tail.append(piece)
                length += len(piece)
            if length > _LONGEST_LINE:
                raise LogError(path, f"no log: a line of more than {_LONGEST_LINE >> 20} MiB")
    except OSError as error:
        raise LogError(path, error.strerror or str(error)) from error
    rest = b"".join(tail)
    if rest:
        yield rest


def _plain(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        piece = file.read(_READ)
        if piece.startswith(_ZSTD_MAGIC):
            raise LogError(path, "compressed with zstd; its name should end in .jsonl.zst")
        while piece:
            yield piece
            piece = file.read(_READ)


def _unzstd(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        # Four bytes of a frame can stand for 128 KiB: a piece is small as long as what came of the last was much.
        size = _LEAST_READ
        piece = file.read(size)
        if not piece.startswith(_ZSTD_MAGIC):
            if piece and _ZSTD_MAGIC.startswith(piece):
                raise _broken_off(path, len(piece))
            found = "an empty file" if not piece else "none; a plain log's name ends in .jsonl"
            raise LogError(path, f"expected a zstd frame, found {found}")
        # Not stream_reader: it takes a frame that breaks off for the end of the data.
        frame = zstandard.ZstdDecompressor().decompressobj()
        read = 0
        while piece:
            try:
                text = frame.decompress(piece)
            except zstandard.ZstdError as error:
                where = f"before compressed byte {read + len(piece)}"
                raise LogError(path, f"damaged zstd data {where}") from error
            read += len(piece)
            if text:
                yield text
            if frame.eof:
                if frame.unused_data or file.read(1):
                    raise LogError(path, "expected the end of the file after the zstd frame, found more data")
                return
            size = min(2 * size, _READ) if len(text) < _MUCH else _LEAST_READ
            piece = file.read(size)
        raise _broken_off(path, read)


def _broken_off(path: str | os.PathLike[str], read: int) -> LogError:
    return LogError(path, f"truncated: the zstd frame breaks off after {read} bytes", truncated=True)
