"""A patch class that defines what its version never runs is refused; what a run never entered is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.engine.strategy import RandomStrategy
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.call_graph import reached
from gmemsim.patches.entered import never_ran, watch_overrides
from gmemsim.patches.hazards.registry import HAZARDS
from gmemsim.patches.registry import PatchError, load_patch, versions
from gmemsim.patches.sources import function_of
from gmemsim.patches.v3 import V3
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.session import build

if TYPE_CHECKING:
    from types import CodeType

HEAD = """from gmemsim.patches.{module} import {base}


class Mine({base}):
    {body}
"""

READY = "async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):\n        return 0"

PARTIAL = READY.replace("kvm_gmem_make_ready(self, ", "other(self, x, ")
#: Module, base, body, and what the refusal has to say.
REFUSED = [
    ("inplace", "Inplace", READY, "inplace never calls kvm_gmem_make_ready; it is called in baseline, v1, v2, v3"),
    ("inplace", "Inplace", READY, "here kvm_gmem_get_file_pfn does without it"),
    ("v3", "V3", READY.replace("ready", "redy"), "v3 has no function kvm_gmem_make_redy"),
    ("v3", "V3", READY.replace("ready", "redy"), "did you mean kvm_gmem_make_ready, which v3 calls?"),
    ("v3", "V3", READY.replace("async ", ""), "has to be `async def`"),
    ("v3", "V3", READY.replace(", gfn", ""), "has to take (self, t, vm, inode, folio, gfn)"),
    ("v3", "V3", READY.replace(", gfn", ", gfn, more"), "has to take (self, t, vm, inode, folio, gfn)"),
    ("v3", "V3", READY.replace("return 0", "yield 0"), "async generator"),
    ("v3", "V3", "async def pages_to_clear(self, folio):\n        return 1", "must not be `async def`"),
    ("v3", "V3", "kvm_gmem_make_ready = None", "is a function in v3, not None"),
    ("v3", "V3", "populate_fetches = True", "is a function in v3, not True"),
    ("v3", "V3", "uptodate_mean = 'prepared'", "did you mean uptodate_means?"),
    ("v3", "V3", "def uptodate_means(self):\n        return ''", "uptodate_means is a value in v3"),
    ("v3", "V3", "def kvm_gmem_max_order(self, *a):\n        return 0", "; it is called in hugepage"),
    ("v3", "V3", "async def kvm_gmem_populate_page(self, *a):\n        return 0", "it is called in baseline"),
    ("baseline", "Baseline", "async def kvm_gmem_populate_one(self, *a):\n        return 0", "it is called in v1"),
    ("v3", "V3", "async def prepare(self, *a):\n        return 0", "is a function of the arch actors"),
    ("v3", "V3", f"@staticmethod\n    {READY}", "has to take (t, vm, inode, folio, gfn)"),
    ("v3", "V3", "kvm_gmem_make_ready = __import__('functools').partial(print)", "a partial is not given `self`"),
    ("v3", "V3", "in_place = 'yes'", "expected bool, as False in v3, got 'yes'"),
    ("inplace", "Inplace", "in_place = False", "and changes nothing by itself: derive from a version in place, or"),
    ("v3", "V3", "huge_pages = True", "only says what v3 is, and changes nothing by itself: derive from hugepage"),
    ("inplace_v8", "InplaceV8", "get_pfn_puts = True", "override kvm_gmem_get_locked_pfn"),
    ("v3", "V3", "default_release = '9.9'", "no release '9.9'; expected one of 6.12"),
    ("v3", "V3", "def one(self):\n        self.two()\n\n    def two(self):\n        self.one()", "nothing calls"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "base", "body", "says"), REFUSED)
def test_refused_with_file_line_and_the_nearest_name(
    module: str, base: str, body: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(HEAD.format(module=module, base=base, body=body))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PatchError) as refused:
        load_patch("mine.py:Mine")
    assert str(refused.value).startswith("mine.py:5: Mine.")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


ACCEPTED = [
    ("v3", "V3", READY),
    ("v3", "V3", READY.replace("self, t, vm, inode, folio, gfn", "self, *args, **options")),
    ("v3", "V3", READY.replace(", gfn)", ", gfn, more=0)")),
    (
        "v3",
        "V3",
        READY.replace("return 0", "return await self.mine(t)")
        + "\n\n    async def mine(self, t):\n        return 0",
    ),
    # With its caller brought back, a function of an older version runs again.
    (
        "inplace",
        "Inplace",
        READY
        + "\n\n    async def kvm_gmem_get_file_pfn(self, t, vm, slot, gfn, index):\n"
        + "        return await self.kvm_gmem_make_ready(t, vm, None, None, gfn), None",
    ),
    ("v3", "V3", "populate_fetches = staticmethod(lambda self, source=None: True)"),
    ("v3", "V3", "gup_under_invalidate_lock = True"),
    ("v3", "V3", "in_place = False"),
    (
        "inplace_v8",
        "InplaceV8",
        "get_pfn_puts = True\n\n    async def kvm_release_faultin_pfn(self, t, fault):\n        pass",
    ),
    ("v3", "V3", "limit = 4\n    kvm_gmem_get_pfn = V3.kvm_gmem_get_pfn"),
    ("v3", "V3", f"@staticmethod\n    {READY.replace('self, ', '')}"),
    ("v3", "V3", READY.replace("kvm_gmem_make_ready", "other") + "\n\n    kvm_gmem_make_ready = other"),
    ("v3", "V3", f"{PARTIAL}\n\n    kvm_gmem_make_ready = __import__('functools').partialmethod(other, 1)"),
    (
        "v3",
        "V3",
        READY.replace("return 0", "return await getattr(self, 'mine')(t)")
        + "\n\n    async def mine(self, t):\n        return 0",
    ),
]


@pytest.mark.parametrize(("module", "base", "body"), ACCEPTED)
def test_accepted(module: str, base: str, body: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD.format(module=module, base=base, body=body))
    assert load_patch(f"{path}:Mine").name == "Mine"


def test_what_a_plain_function_returns_reaches_its_caller(tmp_path: Path) -> None:
    """Its result is looked at on the way."""
    path = tmp_path / "mine.py"
    body = "def invalidate_filter(self, inode):\n        return 'mine'"
    path.write_text(HEAD.format(module="v3", base="V3", body=body))
    assert load_patch(f"{path}:Mine").invalidate_filter(None, None) == "mine"  # type: ignore[arg-type] # unused


def test_a_mixin_that_comes_after_the_version_never_runs(tmp_path: Path) -> None:
    text = "from gmemsim.patches.v3 import V3\n\n\nclass Mixin:\n    " + READY.replace("return 0", "return 1")
    path = tmp_path / "mine.py"
    path.write_text(f"{text}\n\n\nclass Early(Mixin, V3):\n    pass\n\n\nclass Late(V3, Mixin):\n    pass\n")
    assert load_patch(f"{path}:Early")
    with pytest.raises(
        PatchError, match=r"mine\.py:5: Mixin\.kvm_gmem_make_ready: never runs: V1 comes before"
    ):
        load_patch(f"{path}:Late")


def test_functions_behind_a_decorator_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    wraps = """
def logged(function):
    async def inner(*args):
        return await function(*args)
    return inner

"""
    body = f"@logged\n    {READY.replace('return 0', 'return await self.mine(t)')}"
    helper = "\n\n    async def mine(self, t):\n        return 0"
    path.write_text(wraps + HEAD.format(module="v3", base="V3", body=body + helper))
    assert load_patch(f"{path}:Mine")


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m"])
def test_a_name_that_cannot_be_shown(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD.format(module="v3", base="V3", body=f"name = {name!r}"))
    with pytest.raises(PatchError, match="a string of printable characters"):
        load_patch(f"{path}:Mine")


def test_a_patch_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from gmemsim.patches.v3 import V3\n\n\nclass Mine(V3, int):\n    pass\n")
    with pytest.raises(PatchError, match="cannot derive from int as well"):
        load_patch(f"{path}:Mine")


def test_another_class_of_the_file_does_not_make_it_called(tmp_path: Path) -> None:
    """A patch of `v3` in the same file mentions the function, by `super()` and by name."""
    path = tmp_path / "mine.py"
    other = READY.replace("return 0", "return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)")
    path.write_text(
        HEAD.format(module="v3", base="V3", body=other)
        + HEAD.format(module="inplace", base="Inplace", body=READY).replace("Mine", "Other")
    )
    assert load_patch(f"{path}:Mine")
    with pytest.raises(PatchError, match="inplace never calls"):
        load_patch(f"{path}:Other")


def test_a_class_given_to_build_is_refused_as_well() -> None:
    class Misspelt(V3):
        async def kvm_gmem_make_redy(self, t: Any, vm: Any, inode: Any, folio: Any, gfn: int) -> int:
            return 0

    with pytest.raises(PatchError, match=r"test_overrides\.py:\d+: Misspelt\.kvm_gmem_make_redy: v3 has no"):
        build(load_named("punch"), Misspelt, small=True)


def test_a_missing_class_is_answered_with_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD.format(module="v3", base="V3", body=READY))
    with pytest.raises(PatchError, match="no class Mien; did you mean Mine"):
        load_patch(f"{path}:Mien")
    with pytest.raises(PatchError, match="no class X; there are: Mine"):
        load_patch(f"{path}:X")


SEEDED = list(
    dict.fromkeys(
        [f"{parent}+{bug.name}" for bug in BUGS.values() if bug.make for parent in bug.versions]
        + [
            case.patch(version)
            for hazard in HAZARDS.values()
            for case in hazard.cases
            if case.seed
            for version in case.versions
        ]
    )
)


def test_every_seed_can_run() -> None:
    """`large-folios` alone defines both names of one hook, for versions that have one or the other."""
    dead = []
    for patch in SEEDED:
        cls = load_patch(patch)
        base = load_patch(patch.partition("+")[0])
        can_run = reached(cls).definitions
        own = cls.__mro__[: cls.__mro__.index(base)]
        dead += [
            (patch.partition("+")[2], name)
            for each in own
            for name, value in vars(each).items()
            if function_of(value) and not name.startswith("__") and (each, name) not in can_run
        ]
    assert len(SEEDED) > 100
    assert {seed for seed, _ in dead} == {"large-folios"}


@pytest.mark.parametrize("patch", sorted(versions()))
def test_whatever_a_version_defines_can_run(patch: str) -> None:
    """What is refused of a user's patch when it is loaded; ours are not looked at then."""
    cls = versions()[patch]
    can_run = reached(cls).definitions
    own = [name for name, value in vars(cls).items() if function_of(value) and not name.startswith("__")]
    assert [name for name in own if (cls, name) not in can_run] == []


@pytest.mark.parametrize("patch", ["baseline", "v3", "mainline-7.3", "inplace", "hugepage"])
def test_what_runs_can_run(patch: str) -> None:
    """The graph errs on one side only: no function that a run enters is said to be dead."""
    cls = versions()[patch]
    places: dict[CodeType, list[tuple[type, str]]] = {}
    for each in cls.__mro__:
        for name, value in vars(each).items():
            function = function_of(value)
            if function is not None and not name.startswith("__"):
                places.setdefault(function.__code__, []).append((each, name))
    entered: set[CodeType] = set()

    def profile(frame: Any, event: str, _: object) -> None:
        if event == "call" and frame.f_code in places:
            entered.add(frame.f_code)

    can_run = reached(cls).definitions
    for scenario in ("punch", "conv1", "mmap_punch", "populate_mmap_lock", "slot_delete"):
        program = ScenarioProgram(scenario=load_named(scenario), patch=cls)
        before = sys.getprofile()
        sys.setprofile(profile)
        try:
            program.build(RandomStrategy(1)).run()
        finally:
            sys.setprofile(before)
    assert len(entered) > 60
    assert not [code.co_qualname for code in entered if not any(place in can_run for place in places[code])]


def test_what_never_ran_is_known(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    helper = "\n\n    async def kvm_gmem_error_folio(self, t, inode, folio):\n        pass"
    body = READY.replace("return 0", "return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)")
    path.write_text(HEAD.format(module="v3", base="V3", body=body + helper))
    cls = load_patch(f"{path}:Mine")
    program = ScenarioProgram(scenario=load_named("punch"), patch=cls)
    said = []
    for _ in range(2):
        # Armed anew each time: what an earlier search ran says nothing of this one.
        with watch_overrides(cls) as entered:
            assert list(entered.never) == ["kvm_gmem_make_ready", "kvm_gmem_error_folio"]
            program.build(RandomStrategy(1)).run()
        said.append(never_ran(entered.never, "2 schedules"))
    assert said == ["Your `kvm_gmem_error_folio` never ran in 2 schedules."] * 2
    assert never_ran((), "2 schedules") == ""
    with watch_overrides(V3) as none:
        assert none.functions == ()
