"""A scenario text, what TOML makes of it, and errors that name the place in it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from .errors import ScenarioError
from .lines import Path, locate, nearest

_TOML_PLACE = re.compile(
    r"^(?P<message>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)$", re.DOTALL
)
#: No table of a scenario is nested deeper than a third of this.
_DEEPEST = 16


class Source:
    """A scenario text: its name for messages, its values as TOML has them, and where they stand."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.raw = parse(name, text)
        self._lines: dict[Path, int] | None = None

    @property
    def lines(self) -> dict[Path, int]:
        """Built at the first error; a run without errors does without."""
        if self._lines is None:
            self._lines = locate(self.text)
        return self._lines

    def error(self, path: Path, message: str) -> ScenarioError:
        """An error about the thing at `path`."""
        return ScenarioError(self.name, nearest(self.lines, path), field_name(path), message)


def field_name(path: Path) -> str:
    """`("task", 1, "repeat")` is written `task[1].repeat`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


def parse(name: str, text: str) -> dict[str, Any]:
    """The values of a TOML text.

    Raises:
        ScenarioError: it is not TOML.
    """
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ScenarioError(name, 0, "", f"nested deeper than {_DEEPEST} levels") from None
    except ValueError as error:
        match = _TOML_PLACE.match(str(error))
        if match is None:
            raise ScenarioError(name, 0, "", f"not TOML: {error}") from None
        line = int(match["line"]) if match["line"] else text.rstrip("\n").count("\n") + 1
        raise ScenarioError(name, line, "", f"not TOML: {match['message']}") from None
    if _deeper(values, _DEEPEST):
        raise ScenarioError(name, 0, "", f"nested deeper than {_DEEPEST} levels")
    return values


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(each, levels - 1) for each in inner)
