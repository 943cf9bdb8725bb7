"""Where in a TOML text each key stands: `tomllib` gives values, and errors need line numbers too.

The text has already been accepted by `tomllib`, so the scanner only finds its way: it skips what it need not
understand and never complains.
"""

from __future__ import annotations

import re

#: Keys and list positions from the top of the document.
Path = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")


def locate(text: str) -> dict[Path, int]:
    """Line (1-based) of every table, key and list element of the document."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


def nearest(lines: dict[Path, int], path: Path) -> int:
    """Line of `path`, or of the innermost thing around it that has one; 0 if nothing has."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        base: Path = ()
        while self.skip():
            if self.text[self.at] == "[":
                base = self.header()
            else:
                self.pair(base)
        return self.lines

    def move(self, count: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count

    def skip(self) -> bool:
        """Pass blanks, line ends and comments; False at the end of the text."""
        text = self.text
        while self.at < len(text):
            if text[self.at] == "#":
                end = text.find("\n", self.at)
                self.at = len(text) if end < 0 else end
            elif text[self.at].isspace():
                self.move(1)
            else:
                return True
        return False

    def header(self) -> Path:
        array = self.text.startswith("[[", self.at)
        line = self.line
        self.move(2 if array else 1)
        path: Path = ()
        names = self.key()
        for position, name in enumerate(names):
            path += (name,)
            if path in self.counts and not (array and position == len(names) - 1):
                # A table inside an array of tables belongs to the latest element.
                path += (self.counts[path] - 1,)
        if array:
            self.lines.setdefault(path, line)
            count = self.counts[path] = self.counts.get(path, 0) + 1
            path += (count - 1,)
        self.lines.setdefault(path, line)
        self.skip()
        self.move(2 if array else 1)
        return path

    def key(self) -> list[str]:
        names: list[str] = []
        while True:
            self.skip()
            names.append(self.name())
            self.skip()
            if not self.text.startswith(".", self.at):
                return names
            self.move(1)

    def name(self) -> str:
        if self.text[self.at] in "\"'":
            start = self.at
            self.string()
            return self.text[start + 1 : self.at - 1]
        match = _BARE.match(self.text, self.at)
        if match is None:  # cannot happen after tomllib; do not loop for ever if it does
            self.move(1)
            return ""
        self.move(len(match[0]))
        return match[0]

    def pair(self, base: Path) -> None:
        line = self.line
        path = base
        for name in self.key():
            path += (name,)
            self.lines.setdefault(path, line)
        self.move(1)  # the equals sign
        self.skip()
        self.value(path)

    def value(self, path: Path) -> None:
        char = self.text[self.at : self.at + 1]
        if char == "[":
            self.array(path)
        elif char == "{":
            self.inline(path)
        elif char and char in "\"'":
            self.string()
        else:
            match = _SCALAR.match(self.text, self.at)
            self.move(len(match[0]) if match else 1)

    def array(self, path: Path) -> None:
        self.move(1)
        count = 0
        while self.skip() and self.text[self.at] != "]":
            if self.text[self.at] == ",":
                self.move(1)
                continue
            self.lines[*path, count] = self.line
            self.value((*path, count))
            count += 1
        self.move(1)

    def inline(self, path: Path) -> None:
        self.move(1)
        while self.skip() and self.text[self.at] != "}":
            if self.text[self.at] == ",":
                self.move(1)
                continue
            self.pair(path)
        self.move(1)

    def string(self) -> None:
        text = self.text
        quote = text[self.at]
        ends = quote * 3 if text.startswith(quote * 3, self.at) else quote
        at = self.at + len(ends)
        while not text.startswith(ends, at):
            at += 2 if text[at] == "\\" and quote == '"' else 1
        at += len(ends)
        while len(ends) == 3 and text.startswith(quote, at):
            at += 1  # up to two quotes may stand before the closing three
        self.move(at - self.at)
