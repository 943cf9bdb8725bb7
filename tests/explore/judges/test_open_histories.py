"""What a history leaves open is worked out once for all that only differ in times."""

from __future__ import annotations

import pytest
from tests.explore.judges.test_linearizability import HEAD

from gmemsim.explore.judges.linearizability import PageHistories
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.scenario import loads

ONE = HEAD.replace("pages = 2\n", "pages = 1\n")
CONVERTS = ONE.replace('id = "vm0"\n', 'id = "vm0"\non_memory_fault = "convert"\n')
MAPPED = ONE.replace("pages = 1\n", 'pages = 1\nflags = ["MMAP"]\n') + '[[map]]\nid = "m"\nfile = "gmem0"\n'
SHARED = MAPPED.replace('"MMAP"', '"MMAP", "INIT_SHARED"')

#: A load behind a hole says whether the store came before it.
LOADS = """
[[task]]
role = "vcpu"
ops = [{ op = "write", value = "x" }, { op = "read" }]

[[task]]
name = "host"
ops = [{ op = "punch" }, { op = "allocate" }]
"""

#: Which of two ended first counts for a third that begins in between.
THREE = """
[[task]]
role = "vcpu"
ops = [{ op = "write", value = "x" }]

[[task]]
name = "host"
ops = [{ op = "punch" }]

[[task]]
role = "vcpu"
ops = [{ op = "read" }]
"""

#: The VMM converts at each exit, and by itself.
EXITS = """
[[task]]
role = "vcpu"
ops = [{ op = "touch", private = false }, { op = "touch", private = true }]

[[task]]
name = "vmm"
ops = [{ op = "convert", private = false }, { op = "convert", private = true }]
"""

#: Accesses of the host may be refused.
IN_PLACE = """
[[task]]
role = "vcpu"
ops = [{ op = "read" }]

[[task]]
name = "host"
ops = [{ op = "host_write", map = "m", value = "host" }, { op = "host_read", map = "m" }]

[[task]]
name = "vmm"
ops = [{ op = "set_file_attributes", private = false }]
"""

HOST = """
[[task]]
name = "writer"
ops = [{ op = "host_write", map = "m", value = "x" }, { op = "host_read", map = "m" }]

[[task]]
name = "puncher"
ops = [{ op = "punch" }, { op = "host_read", map = "m" }]
"""


@pytest.mark.parametrize(
    ("text", "patch"),
    [
        (ONE + LOADS, "v3"),
        (ONE + THREE, "v3"),
        (CONVERTS + EXITS, "v3"),
        (MAPPED + IN_PLACE, "inplace"),
        (SHARED + HOST, "inplace"),
    ],
)
def test_what_is_known_is_what_is_worked_out_anew(
    text: str, patch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = PageHistories.__digest__
    unlike: list[tuple[object, object]] = []
    met: set[object] = set()
    compared = 0

    def both(self: PageHistories) -> object:
        nonlocal compared
        found = known(self)
        anew = tuple(self._left_open(place) for place in self._places)
        met.add(anew)
        compared += 1
        if found != anew:
            # Not raised here: what cannot be looked at ends the search, and is no failure of the program.
            unlike.append((found, anew))
        return found

    monkeypatch.setattr(PageHistories, "__digest__", both)
    program = ScenarioProgram(scenario=loads(text), patch=patch, arch="sw-protected")
    search(program, Stateful(), Limits(schedules=None, states=2_000))
    assert not unlike
    assert compared > 2_000
    assert len(met) > 5
