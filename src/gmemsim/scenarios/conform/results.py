"""What a step came to, and whether that is what the vector expects."""

from __future__ import annotations

from typing import Any, Final

import attrs

from ...actors import errno

#: What a step can come to.
_RESULTS: Final = frozenset(
    {
        "ok", "value", "error", "any_of", "SIGBUS", "SIGSEGV", "exit_fail_entry", "exit_memory_fault", "exit_mmio",
        "exit_hypercall", *errno.ERRNOS.values(),
    }
)  # fmt: skip

#: Keys of `expect` that hold what the step reported: it must have reported that. An operation that reports none fails.
_COMPARED: Final = frozenset(
    {
        "error_offset", "remaining_size", "remaining_gpa", "remaining_len", "processed", "flags", "gpa", "size",
        "errno", "phys_addr", "is_write", "len", "st_size", "st_blksize", "state", "to", "policy", "nodes",
    }
)  # fmt: skip

#: Keys that say something else, and the operations that give them a meaning.
_MEANT_FOR: Final[dict[str, frozenset[str]]] = {
    "save_ino": frozenset({"stat"}),
    "ino_same_as": frozenset({"stat"}),
    "ino_differs_from": frozenset({"stat"}),
    "aligned_to": frozenset({"mmap"}),
    "completes": frozenset({"resume"}),
    "loop_until": frozenset({"pre_fault"}),
    "remaining_shrinks_iff": frozenset({"pre_fault"}),
    "inner_errno": frozenset({"populate"}),
    "invariants": frozenset({"parallel", "loop"}),
    "memory_failure_rc": frozenset({"error_inject"}),
    "memory_failure_rc_with_fix": frozenset({"error_inject"}),
}


#: Failures that `error` stands for: anything but these.
_NO_ERROR: Final = frozenset({"ok", "value"})


class Mismatch(Exception):
    """A step came to something else than the vector expects."""

    def __init__(self, path: str, expected: Any, got: Any) -> None:
        super().__init__(f"step {path}: expected {expected}, got {got}")
        self.path = path
        self.expected = expected
        self.got = got


@attrs.frozen
class Got:
    """What a step came to.

    Attributes:
        result: `ok`, `value`, an errno name, `SIGBUS`, `exit_memory_fault`, ….
        value: what was read: the set of bytes, None among them if some are unknown; or a structure.
        more: further facts, by the vector's names.
    """

    result: str
    value: Any = None
    more: dict[str, Any] = attrs.field(factory=dict)

    def plain(self) -> dict[str, Any]:
        """For reports."""
        shown: dict[str, Any] = {"result": self.result, **self.more}
        if self.result == "value":
            shown["value"] = sorted(self.value, key=str) if isinstance(self.value, set) else self.value
        return shown


def unknown_expectation(op: str, expect: dict[str, Any]) -> list[str]:
    """What of an expectation of `op` means nothing here."""
    result = expect["result"]
    found = [
        f"key {name!r} of expect for {op}"
        for name in expect
        if name in _MEANT_FOR and op not in _MEANT_FOR[name]
    ]
    if result not in _RESULTS:
        found.append(f"result {result!r}")
    if ("any_of" in expect) != (result == "any_of"):
        found.append("any_of without its list or without its result")
    if result == "value" and not ({"value", "value_not", "save_ino", "ino_same_as"} | _COMPARED) & set(
        expect
    ):
        found.append("result value without a value")
    for each in expect.get("any_of", ()):
        if isinstance(each, dict):
            found += unknown_expectation(op, each)
        elif each not in _RESULTS:
            found.append(f"result {each!r}")
    return found


def check(noted: dict[str, Any], path: str, expect: dict[str, Any], got: Got) -> None:
    """Compare; `noted` are values that a step saves for a later one.

    Raises:
        Mismatch: they differ.
    """
    if not _fits(noted, expect, got):
        raise Mismatch(path, expect, got.plain())


def _fits(noted: dict[str, Any], expect: dict[str, Any], got: Got) -> bool:
    result = expect["result"]
    if result == "any_of":
        return any(
            _fits(noted, each if isinstance(each, dict) else {"result": each}, got)
            for each in expect["any_of"]
        ) and _shrinks(expect, got)
    if result == "error":
        if got.result in _NO_ERROR:
            return False
    elif result != got.result:
        return False
    if result == "value" and not _same_value(expect, got):
        return False
    if not _ino(noted, expect, got):
        return False
    return all(got.more.get(name) == value for name, value in expect.items() if name in _COMPARED)


def _shrinks(expect: dict[str, Any], got: Got) -> bool:
    """`remaining_shrinks_iff`: the call made progress exactly if it returned that."""
    wanted = expect.get("remaining_shrinks_iff")
    return wanted is None or bool(got.more.get("shrank")) == (got.result == wanted)


def _same_value(expect: dict[str, Any], got: Got) -> bool:
    value = got.value
    if "value_not" in expect:
        return isinstance(value, set) and expect["value_not"] not in value
    if "value" not in expect or expect["value"] == "undefined":
        return True
    if isinstance(value, set):
        return isinstance(expect["value"], int) and value == {expect["value"]}
    return bool(value == expect["value"])


def _ino(noted: dict[str, Any], expect: dict[str, Any], got: Got) -> bool:
    number = got.more.get("ino")
    if "save_ino" in expect:
        noted[expect["save_ino"]] = number
    if "ino_same_as" in expect and noted.get(expect["ino_same_as"]) != number:
        return False
    return "ino_differs_from" not in expect or noted.get(expect["ino_differs_from"]) != number
