"""Of which dicts the order of the entries is state: those that a user's code keeps, since it may ask for the first.

No code of the model asks for an order. So in a run without a user's code no order counts, and in one with it all count
but those of the dicts that objects of the model keep.
"""

from __future__ import annotations

from functools import cache
from opcode import EXTENDED_ARG, opmap
from typing import TYPE_CHECKING, Any, Final

from ...patches.sources import function_of, of_package

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

_STORE_ATTR: Final = opmap["STORE_ATTR"]


class Orders:
    """Told of what objects keep before it is asked about it.

    Attributes:
        counts: whether a user's code takes part (`Engine.ordered`).
    """

    def __init__(self, counts: bool) -> None:
        self.counts = counts
        #: Dicts that objects of the model keep, by id.
        self._of_model: dict[int, Any] = {}

    def keeps(self, cls: type, attributes: Iterable[tuple[str, Any]]) -> None:
        """An object of the class has these."""
        if self.counts:
            names = attributes_of_model(cls)
            for name, value in attributes:
                if names is None or name in names:
                    self._belongs(value)

    def counts_in(self, value: dict[Any, Any]) -> bool:
        """Whether the order of its entries does; if it is the model's, so are the dicts in it."""
        if self._of_model.get(id(value)) is value:
            for inner in dict.values(value):
                self._belongs(inner)
            return False
        return self.counts

    def _belongs(self, value: Any) -> None:
        if isinstance(value, dict):
            self._of_model[id(value)] = value


@cache
def attributes_of_model(cls: type) -> frozenset[str] | None:
    """Attributes that code of the model sets in objects of a class; None: all, as the class is the model's own."""
    ours = [base for base in cls.__mro__ if of_package(base.__module__)]
    if ours and ours[0] is cls:
        return None
    names: set[str] = set()
    for base in ours:
        names.update(getattr(base, "__slots__", ()))
        for value in vars(base).values():
            function = function_of(value)
            if function is not None:
                names.update(attributes_set(function.__code__))
    return frozenset(names)


def attributes_set(code: CodeType) -> Iterator[str]:
    """Attributes, of whatever object, that the function itself sets.

    `dis` says the same, and takes most of a second for all functions of a kernel.
    """
    number = 0
    for operation, low in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        number = number << 8 | low
        if operation == _STORE_ATTR:
            yield code.co_names[number]
        if operation != EXTENDED_ARG:
            number = 0
