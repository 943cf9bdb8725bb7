"""What a user's file can keep over a run, and what is none of it."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.patches.outlives import Held
from gmemsim.patches.user_file import module_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Of each: what the file has beside the class, the function `change` of the class, and the name that is told.
KEPT = {
    "list": ("SEEN = []", "SEEN.append(1)", "SEEN"),
    "number": ("COUNT = 0", "globals().update(COUNT=1)", "COUNT"),
    "equal number of another type": ("COUNT = 0", "globals().update(COUNT=False)", "COUNT"),
    "new name": ("", "globals().update(NEW=1)", "NEW"),
    "class attribute": ("", "Mine.first = 1", "Mine.first"),
    "annotations": ("", "Mine.__annotations__ = {'first': 1}", "Mine.__annotations__"),
    "slots": (
        "class S:\n    __slots__ = ('first',)\n    def __init__(self): self.first = 0\nS0 = S()",
        "S0.first = 1",
        "S0",
    ),
    "hidden slots": (
        "class S:\n    __slots__ = ('__first',)\n    def put(self, first): self.__first = first\nS0 = S()",
        "S0.put(1)",
        "S0",
    ),
    "attrs": ("import attrs\n@attrs.define\nclass A:\n    first: int = 0\nA0 = A()", "A0.first = 1", "A0"),
    "namespace": ("import types\nN = types.SimpleNamespace(first=0)", "N.first = 1", "N"),
    "deque of one length": ("import collections\nD = collections.deque([0], 1)", "D.append(1)", "D"),
    "order": (
        "import collections\nD = collections.OrderedDict(a=1, b=1)",
        "D.move_to_end('a')",
        "D",
    ),
    "bytearray": ("B = bytearray(1)", "B[0] = 1", "B"),
    "array": ("import array\nA = array.array('i', [0])", "A[0] = 1", "A"),
    "number with an attribute": ("class N(int): pass\nN0 = N(7)", "N0.first = 1", "N0"),
    "bound function of a list": ("PUSH = [].append", "PUSH(1)", "PUSH"),
    "deep": ("D = {'a': [({},)]}", "D['a'][0][0]['b'] = 1", "D"),
    "in a circle": ("L = [0]\nL.append(L)", "L[1][1][0] = 1", "L"),
    "counter": ("import itertools\nC = itertools.count()", "next(C)", "C"),
    "generator": ("G = (n for n in range(3))", "next(G)", "G"),
    "random numbers": ("import random\nR = random.Random(1)", "R.random()", "R"),
    "context variable": ("import contextvars\nV = contextvars.ContextVar('v', default=0)", "V.set(1)", "V"),
    "thread-local": ("import threading\nT = threading.local()", "T.first = 1", "T"),
    "weak keys": ("import weakref\nW = weakref.WeakKeyDictionary()", "W[Mine] = 1", "W"),
    "member of an enumeration": ("import enum\nclass E(enum.Enum):\n    A = 1", "E.A.first = 1", "E.A"),
    "default": ("def f(seen=[]): seen.append(1)", "f()", "f (the default of seen)"),
    "default by keyword": ("def f(*, seen=[]): seen.append(1)", "f()", "f (the default of seen)"),
    "attribute of a function": ("def f(): pass", "f.calls = 1", "f (the attribute calls)"),
    "closure": (
        "def make():\n    first = 0\n    def f():\n        nonlocal first\n        first = 1\n    return f\nf = make()",
        "f()",
        "f (first in the closure)",
    ),
    "cache": ("import functools\n@functools.cache\ndef f(n): return n", "f(1)", "f (its cache)"),
    "environment": ("import os", "os.environ['OF_A_RUN'] = '1'", "OF_A_RUN"),
}
HARMLESS = {
    "nothing": ("SEEN = []", "len(SEEN)"),
    "logger": ("import logging\nLOG = logging.getLogger('mine')", "LOG.isEnabledFor(10), LOG.debug('x')"),
    "pattern": ("import re\nP = re.compile('a')", "P.match('a'), re.match('bcd', 'x')"),
    "flags": ("import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2", "F.A | F.B"),
    "equal list": ("SEEN = []", "globals().update(SEEN=[])"),
    "cache that was filled": ("import functools\n@functools.cache\ndef f(n): return n\nf(1)", "f(1)"),
    "environment of others": ("", "__import__('os').putenv"),
    "abstract base": ("from collections.abc import Sized", "isinstance([], Sized)"),
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_A_RUN", "")


def of_file(tmp_path: Path, beside: str, change: str) -> Any:
    path = tmp_path / "mine.py"
    path.write_text(f"{beside}\n\n\nclass Mine:\n    def change(self):\n        {change}\n")
    return module_of(str(path)).Mine


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept(kind: str, tmp_path: Path) -> None:
    beside, change, name = KEPT[kind]
    cls = of_file(tmp_path, beside, change)
    held = Held(cls)
    assert not held.changed()
    cls().change()
    assert held.changed().endswith(name)
    assert held.changed(), "a second look says the same"


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_is_not(kind: str, tmp_path: Path) -> None:
    cls = of_file(tmp_path, *HARMLESS[kind])
    held = Held(cls)
    cls().change()
    assert not held.changed()


def test_a_module_of_the_users_that_the_file_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helper_of_mine.py").write_text("SEEN = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    held = Held(cls := of_file(tmp_path, "import helper_of_mine", "helper_of_mine.SEEN.append(1)"))
    cls().change()
    assert held.changed().endswith("helper_of_mine.py: SEEN")


@pytest.fixture
def a_test(tmp_path: Path) -> Iterator[Any]:
    """A module that is no user's file: one of a test, which has things of its own."""
    path = tmp_path / "test_of_somebody.py"
    path.write_text(
        "USED = []\nOTHER = []\n\n\ndef put():\n    USED.append(1)\n\n\n"
        "class Mine:\n    def change(self):\n        put()\n"
    )
    spec = importlib.util.spec_from_file_location("test_of_somebody", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["test_of_somebody"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["test_of_somebody"]


def test_of_a_test_only_what_the_class_uses(a_test: Any) -> None:
    held = Held(a_test.Mine)
    a_test.OTHER.append(1)
    assert not held.changed()
    a_test.Mine().change()
    assert held.changed().endswith("test_of_somebody.py: USED")
