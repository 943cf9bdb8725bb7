"""Conditions on what is observed of a run: names, numbers, texts, comparisons, `and`, `or`, `not`, `in`.

A name is one of `observables`, or a task, which stands for the list of its results (`"touch=ok" in vcpu0`);
`prepare < 2 and "populate EEXIST" in errors`. `a before b` in the order of first times is written
`before(a, b)` with names of events; it is false if one of them never happened. Nothing else is evaluated.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, Final

from ..bad_input import BadInput
from ..explore.observables import LISTS, by_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMPARE: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, among: item in among,
    ast.NotIn: lambda item, among: item not in among,
}
_BEFORE: Final = "before"


class ConditionError(BadInput):
    """A condition that is none; the message is one line."""


class Condition:
    """A condition, checked when it is made.

    Attributes:
        text: as it was written.
        names: what has to be observed for it; tasks stand for `results`.
        unsure: of them, those that may be mistyped (`observables.by_pattern`).
        count_to: no count beyond this one can matter to it.

    Raises:
        ConditionError: it is not an expression of the kind above.
    """

    def __init__(self, text: str, tasks: frozenset[str]) -> None:
        self.text = text
        self._tasks = tasks
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ConditionError(f"condition {text!r}: not an expression") from None
        self._names: set[str] = set()
        self.count_to = 1
        self._check(self._tree)
        self.names = frozenset("results" if name in tasks else name for name in self._names)
        self.unsure = sorted(by_pattern(self._names - tasks))

    def holds(self, observed: Mapping[str, Any]) -> bool:
        """Whether it holds for what was observed."""
        return bool(self._value(self._tree, observed))

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self._check(part)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                self._check(part)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in _COMPARE for op in ops
            ):
                if sum(isinstance(part, ast.Name) for part in (left, *others)) > 1:
                    # Counts stop where no number of the condition can tell them apart.
                    raise ConditionError(
                        f"condition {self.text!r}: compares two observed things with each other"
                    )
                for part in (left, *others):
                    self._check(part)
                sorts = [self._sort(part) for part in (left, *others)]
                for op, one, two in zip(ops, sorts, sorts[1:], strict=False):
                    self._comparable(op, one, two)
            case ast.Constant(value=str()):
                pass
            case ast.Constant(value=int(number)):
                self.count_to = max(self.count_to, number + 1)
            case ast.Name(id="results"):
                raise ConditionError(
                    f"condition {self.text!r}: results are asked for by the name of the task"
                )
            case ast.Name(id=name):
                self._names.add(name)
            case ast.Call(func=ast.Name(id="before"), args=[ast.Name(id=one), ast.Name(id=two)], keywords=[]):
                if "list" in (self._sort(ast.Name(one)), self._sort(ast.Name(two))):
                    raise ConditionError(f"condition {self.text!r}: before() takes the names of two events")
                self._names |= {one, two, "first"}
            case _:
                raise ConditionError(
                    f"condition {self.text!r}: {ast.unparse(node)} is not part of a condition"
                )

    def _sort(self, node: ast.expr) -> str:
        """What it is: a number (a truth is one), a text or a list."""
        match node:
            case ast.Constant(value=str()):
                return "text"
            case ast.Name(id=name) if name in self._tasks or name in LISTS:
                return "list"
            case _:
                return "number"

    def _comparable(self, op: ast.cmpop, one: str, two: str) -> None:
        """Refuse what can never hold, whatever is observed: nobody means that."""
        if isinstance(op, ast.In | ast.NotIn):
            if (one, two) != ("text", "list"):
                raise ConditionError(
                    f"condition {self.text!r}: looks for a {one} in a {two}; expected a text in a list"
                )
        elif (one, two) not in (("number", "number"), ("text", "text")):
            raise ConditionError(
                f"condition {self.text!r}: compares a number with a text or list"
                if "number" in (one, two)
                else f"condition {self.text!r}: compares a list; expected a text `in` it"
            )

    def _value(self, node: ast.expr, observed: Mapping[str, Any]) -> Any:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return all(self._value(part, observed) for part in parts)
            case ast.BoolOp(values=parts):
                return any(self._value(part, observed) for part in parts)
            case ast.UnaryOp(operand=part):
                return not self._value(part, observed)
            case ast.Compare(left=left, ops=ops, comparators=others):
                values = [self._value(part, observed) for part in (left, *others)]
                return all(
                    _COMPARE[type(op)](one, two)
                    for op, one, two in zip(ops, values, values[1:], strict=False)
                )
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return observed[name]
            case ast.Call(args=[ast.Name(id=one), ast.Name(id=two)]):
                first: list[str] = observed["first"]
                return one in first and two in first and first.index(one) < first.index(two)
            case _:
                raise AssertionError(node)
