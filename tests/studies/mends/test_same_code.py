"""What a search touched of a version, and which other versions have all of it."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from gmemsim.actors.kernel import Kernel
from gmemsim.actors.release import RELEASES, Release
from gmemsim.patches.by_file import by_file
from gmemsim.patches.registry import load_patch, registered_name
from gmemsim.patches.v3 import V3
from gmemsim.studies.matrix import explore_cell
from gmemsim.studies.mends.questions import Question, _failures_alike, answers
from gmemsim.studies.mends.same_code import Touched, same, touching
from gmemsim.studies.operations import Cell

FIELDS = {name: vars(Release)[name] for name in ("zap_filter", "name")}


@pytest.fixture(scope="module")
def touched() -> Touched:
    """Of two holes on the base of a page that nobody touched."""
    before = {owner: dict(vars(owner)) for owner in V3.__mro__[:-1]}
    with touching(V3) as noted:
        explore_cell(Cell(("punch", "punch"), "v3", "sw-protected"), states=1_000, schedules=0)
    assert {owner: dict(vars(owner)) for owner in V3.__mro__[:-1]} == before
    assert {name: vars(Release)[name] for name in FIELDS} == FIELDS
    return noted


def test_entered_are_the_functions_that_ran(touched: Touched) -> None:
    names = {name for _, name in touched.entered}
    assert {"kvm_gmem_punch_hole", "truncate_inode_pages_range", "__init__"} <= names
    assert "memory_failure" not in names
    assert "in_place" in touched.read
    assert "zap_filter" in touched.release


def test_a_version_is_the_same_unless_what_was_touched_is_another(touched: Touched) -> None:
    class Elsewhere(V3):
        name: ClassVar[str] = "elsewhere"

        async def memory_failure(self, *_: Any) -> int:
            return 0

    class Entered(V3):
        async def kvm_gmem_punch_hole(self, *given: Any) -> int:
            ret: int = await super().kvm_gmem_punch_hole(*given)
            return ret

    class Read(V3):
        in_place: ClassVar[bool] = True

    class Missed(V3):
        never_there = 1

    assert same(touched, V3, Elsewhere)
    assert not same(touched, V3, Entered)
    assert not same(touched, V3, Read)
    assert same(touched, V3, Missed)
    touched.missed.add("never_there")
    assert not same(touched, V3, Missed)
    touched.missed.discard("never_there")


def test_a_field_of_the_release_counts_where_it_was_read(touched: Touched) -> None:
    class Later(V3):
        default_release: ClassVar[str] = "7.3"

    assert RELEASES["7.2"] != RELEASES["7.3"]
    differing = {
        name
        for name in Release.__annotations__
        if getattr(RELEASES["7.2"], name) != getattr(RELEASES["7.3"], name)
    }
    assert same(Touched(), V3, Later)
    assert not same(Touched(release=differing - {"name"}), V3, Later)


@pytest.mark.parametrize("version", ["baseline", "v2"])
def test_a_failure_is_known_while_its_version_is_watched(version: str) -> None:
    # By the name of the version itself, and not of the one that it derives from.
    asked = Question("findings", version, "", "sw-protected", "zoo-poison_punch")
    with touching(load_patch(version)):
        assert registered_name(load_patch(version)) == version
    (row,) = answers([asked], 3_000)
    assert [one["known"] for one in row["violations"]] == ["memory-failure-against-punch"]


def test_a_mend_that_makes_a_release_of_its_own_can_be_watched() -> None:
    patch = "baseline+prefault-eagain"
    with touching(load_patch(patch)) as noted:
        explore_cell(Cell(("pre-fault", "punch"), patch, "sw-protected"), states=100, schedules=0)
    assert "lookup_first" in noted.release


def test_mends_that_one_function_makes_are_not_the_same() -> None:
    one, other = (load_patch(f"baseline+{mend}") for mend in ("prefault-eagain", "reload-frees-roots"))
    assert one.__init__.__code__ is other.__init__.__code__
    entered = Touched(entered={(next(cls for cls in one.__mro__ if "__init__" in vars(cls)), "__init__")})
    assert same(entered, one, load_patch("baseline+prefault-eagain"))
    assert not same(entered, one, other)


def test_a_definition_behind_super_counts_if_it_was_entered() -> None:
    class Behind(V3):
        async def kvm_gmem_punch_hole(self, *given: Any) -> int:
            return 1

    class Front(Behind):
        async def kvm_gmem_punch_hole(self, *given: Any) -> int:
            return await super().kvm_gmem_punch_hole(*given)

    class Alone(V3):
        kvm_gmem_punch_hole = vars(Front)["kvm_gmem_punch_hole"]

    name = "kvm_gmem_punch_hole"
    front: type[Kernel] = Front
    alone: type[Kernel] = Alone
    assert same(Touched(entered={(Front, name)}), front, alone)
    assert not same(Touched(entered={(Front, name), (Behind, name)}), front, alone)


def test_an_answer_is_shared_with_the_version_that_ran_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        Question(
            "pairs", version, "error-bindings-lock", "sw-protected", "memory failure + make slot + untouched"
        )
        for version in ("v2", "v3", "v1")
    ]
    rows = {row["key"][1]: row for row in answers(asked, 2_000)}
    assert "same_as" not in rows["v2"]
    # Another release, which the zap reads.
    assert "same_as" not in rows["v3"]
    assert rows["v1"]["same_as"] == "v2"
    assert rows["v1"]["states"] == rows["v2"]["states"]
    alone = answers([asked[2]], 2_000)
    assert {**rows["v1"], "cpu_seconds": 0} == {**alone[0], "cpu_seconds": 0, "same_as": "v2"}
    late = answers(asked, 2_000, lambda: False)
    assert {row["key"][1] for row in late} == {"v2", "v1"}


def test_an_answer_with_a_failure_is_shared_where_the_failure_is_the_same_finding() -> None:
    def asked(version: str) -> Question:
        return Question("findings", version, "", "sw-protected", "zoo-poison_punch")

    rows = {
        row["key"][1]: row for row in answers([asked("hugepage-populate"), asked("hugepage-tracked")], 3_000)
    }
    assert rows["hugepage-tracked"]["same_as"] == "hugepage-populate"
    assert rows["hugepage-tracked"]["patch"] == "hugepage-tracked"
    alone = answers([asked("hugepage-tracked")], 3_000)[0]
    left_out = {"cpu_seconds": 0, "same_as": ""}
    assert rows["hugepage-tracked"] | left_out == alone | left_out


def test_a_failure_is_another_where_the_version_has_another_finding() -> None:
    def alike(known: str, one: str, other: str) -> bool:
        asked = [Question("findings", version, "", "snp", "zoo-tdx_fails") for version in (one, other)]
        row = {"violations": [{"known": known}]}
        return bool(_failures_alike(row, *asked))

    assert _failures_alike({}, *[Question("findings", "v3", "", "snp", "zoo-tdx_fails")] * 2)
    assert alike("memory-failure-against-punch", "v3", "v2")
    # The version has it not; what is no finding has a token.
    assert not alike("unbind-during-memory-failure", "v3", "mainline-7.3")
    assert not alike("", "v3", "v2")
    # It would be the finding that stands before it in the table, if it fits that too.
    assert alike("host-fault-on-poisoned-page", "inplace-v8", "inplace")
    assert not alike("host-fault-on-poisoned-page", "inplace", "inplace-v8")


def test_of_a_function_by_file_both_count() -> None:
    async def huge(self: Any, t: Any, inode: Any) -> int:
        return 0

    async def other(self: Any, t: Any, inode: Any) -> int:
        return 1

    class First(V3):
        chosen = by_file(huge, huge)

    class Second(V3):
        chosen = by_file(huge, other)

    first: type[Kernel] = First
    assert same(Touched(entered={(First, "chosen")}), first, first)
    assert not same(Touched(entered={(First, "chosen")}), first, Second)


def test_releases_that_were_asked_for_count_and_not_the_versions_own() -> None:
    read = {
        name
        for name in Release.__annotations__
        if getattr(RELEASES["6.12"], name) != getattr(RELEASES["7.3"], name)
    } - {"name"}
    assert same(Touched(release=read), V3, V3, ("6.12", "6.12"))
    assert not same(Touched(release=read), V3, V3, ("6.12", "7.3"))


def test_an_answer_is_shared_with_another_mend_that_was_not_entered() -> None:
    asked = [
        Question("pairs", "inplace", mend, "default", "delete slot + memory failure + untouched")
        for mend in ("fault-dirties", "host-fault-refuses", "error-trylock")
    ]
    rows = {row["key"][2]: row for row in answers(asked, 2_000)}
    # Nobody faults there; the hook is entered.
    assert rows["host-fault-refuses"]["same_as"] == "inplace+fault-dirties"
    alone = answers([asked[1]], 2_000)[0]
    assert rows["host-fault-refuses"] | {"cpu_seconds": 0, "same_as": ""} == alone | {
        "cpu_seconds": 0,
        "same_as": "",
    }
    assert "same_as" not in rows["error-trylock"]
