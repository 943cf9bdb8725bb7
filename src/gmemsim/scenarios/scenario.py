"""A scenario: read once, then resolved to a workload for any set of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..audit.bounded import TooLarge, read_bounded
from .decode import decode, substitute
from .errors import ScenarioError
from .own import files_of, load_operations
from .source import Source
from .workload import Workload, make_workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Head, Scalar

#: Bytes of a scenario file.
_LARGEST: Final = 1 << 20


class Scenario:
    """One scenario file, valid for its default parameters.

    Attributes:
        name: as in the file.
        head: its `[scenario]` table.
        parameters: default values, in the order of the file.
        small: the values that make it small enough to explore.
        source: where it came from, for messages.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.parameters = self._scalars("parameters")
        self.small = self._scalars("small")
        for name in self.small:
            if name not in self.parameters:
                raise source.error(
                    ("small", name), f"no such parameter (there are: {', '.join(self.parameters)})"
                )
            self._same_type(("small", name), name, self.small[name])
        self._workloads: dict[tuple[tuple[str, Scalar], ...], Workload] = {}
        self.head: Head = self.resolve().document.scenario
        self.name = self.head.name

    @property
    def vm_types(self) -> tuple[str, ...]:
        """VM types that it is for: those that its VMs have, if it leaves none open. Empty: any."""
        return self.resolve().tables.own_types or tuple(self.head.vm_types)

    def _scalars(self, key: str) -> dict[str, Scalar]:
        table = self.source.raw.get(key, {})
        if not isinstance(table, dict):
            raise self.source.error((key,), f"expected [{key}], a table")
        for name, value in table.items():
            if not isinstance(value, (int, str)):
                raise self.source.error(
                    (key, name), f"expected a number, a string or a truth value, got {value!r}"
                )
        return table

    def _same_type(self, path: tuple[str | int, ...], name: str, value: Scalar) -> None:
        default = self.parameters[name]
        if type(default) is not type(value):
            raise self.source.error(
                path, f"expected {type(default).__name__} as in {default!r}, got {value!r}"
            )

    def resolve(
        self, parameters: Mapping[str, Scalar] | None = None, *, vcpus: int | None = None, small: bool = False
    ) -> Workload:
        """The workload for these parameters; the same object again for the same ones.

        Args:
            parameters: values in place of the defaults.
            vcpus: short for the parameter of that name.
            small: start from the `[small]` values.

        Raises:
            ScenarioError: no such parameter, or the workload is wrong with these values.
        """
        values = {**self.parameters, **(self.small if small else {})}
        given = dict(parameters or {})
        if vcpus is not None:
            if "vcpus" not in self.parameters:
                raise ScenarioError(
                    self.source.name, 0, "", "has no parameter vcpus: its vCPUs are what it is about"
                )
            if vcpus < 0:
                raise ScenarioError(self.source.name, 0, "vcpus", f"expected a number of vCPUs, got {vcpus}")
            given["vcpus"] = vcpus
        for name, value in given.items():
            if name not in values:
                known = ", ".join(self.parameters) or "none"
                raise ScenarioError(self.source.name, 0, "", f"has no parameter {name} (there are: {known})")
            self._same_type(("parameters", name), name, value)
        values.update(given)
        key = tuple(values.items())
        found = self._workloads.get(key)
        if found is None:
            document = decode(self.source, substitute(self.source, values))
            self._workloads[key] = found = make_workload(self.source, document, values)
        return found

    def __repr__(self) -> str:
        return f"<Scenario {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process reads it anew, with the operations of the user's files that it uses."""
        return _again, (self.source.name, self.source.text, files_of(self.source.raw))


def _again(name: str, text: str, operations: tuple[str, ...]) -> Scenario:
    load_operations(operations)
    return loads(text, name)


def loads(text: str, name: str = "<scenario>") -> Scenario:
    """The scenario in a TOML text; `name` stands for the file in messages.

    Raises:
        ScenarioError: one line that names file, line and field.
    """
    return Scenario(Source(name, text))


def load(path: str | Path) -> Scenario:
    """The scenario in a file.

    Raises:
        ScenarioError: as `loads`, or the file cannot be read.
    """
    path = Path(path)
    try:
        text = read_bounded(path, _LARGEST).decode()
    except (OSError, TooLarge) as error:
        raise ScenarioError(
            str(path), 0, "", f"cannot read it: {getattr(error, 'strerror', None) or error}"
        ) from None
    except UnicodeDecodeError:
        raise ScenarioError(str(path), 0, "", "not a text in UTF-8") from None
    return loads(text, str(path))
