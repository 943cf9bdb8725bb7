"""What the operations, loops and rules of a workload do, each in a few lines of TOML."""

import pytest
from tests.model.rig import AlwaysFault

from gmemsim.engine.errors import Deadlock, StepLimit
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.stats import LockClass
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.errors import ScenarioError, TimeLimit
from gmemsim.scenarios.options import Options
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import Session, build

HEAD = '[scenario]\nname = "x"\nsummary = "s"\n'
FILE = '[[file]]\nid = "g"\npages = 8\n[[slot]]\nfile = "g"\n'


def run(text: str, arch: str = "default", patch: str = "v3", seed: int = 0, **options: object) -> Session:
    return build(loads(HEAD + text), patch, arch, seed=seed, options=Options(**options)).run()  # type: ignore[arg-type]


def outcomes(session: Session, task: str = "vcpu0") -> list[str]:
    return [result.outcome for result in session.results[task].operations]


def vcpu(ops: str, more: str = "") -> str:
    return f'[[task]]\nrole = "vcpu"\n{more}ops = [{ops}]\n'


def host(name: str, ops: str, more: str = "") -> str:
    return f'[[task]]\nname = "{name}"\n{more}ops = [{ops}]\n'


def test_reads_give_values_and_writes_fill_placeholders() -> None:
    text = FILE + vcpu(
        '{ op = "read", count = 2 }, { op = "write", value = "{task}.{round}.{page}", count = 2 }, '
        '{ op = "read", count = 3 }',
        "repeat = 2\n",
    )
    results = run(text).results["vcpu0"].operations
    assert results[0].values == ("zero", "zero")
    assert results[2].values == ("data:vcpu0.0.0", "data:vcpu0.0.1", "zero")
    assert results[5].values == ("data:vcpu0.1.0", "data:vcpu0.1.1", "zero")
    assert [result.call for result in results] == [1, 2, 3, 1001, 1002, 1003]
    stamps = [stamp for result in results for stamp in (result.began, result.ended)]
    assert stamps == sorted(stamps)


def test_ids_stay_when_an_operation_is_taken_out() -> None:
    with_ids = run(FILE + vcpu('{ op = "touch" }, { op = "prefault", id = 7 }, { op = "punch", id = 9 }'))
    without = run(FILE + vcpu('{ op = "prefault", id = 7 }, { op = "punch", id = 9 }'))
    assert [r.call for r in with_ids.results["vcpu0"].operations] == [1, 7, 9]
    assert [r.call for r in without.results["vcpu0"].operations] == [7, 9]


def test_slices_cover_the_range_once() -> None:
    text = FILE + vcpu('{ op = "touch", slice = true }', "instances = 3\n")
    session = run(text)
    ranges = [(r.lo, r.hi) for results in session.results.values() for r in results.operations]
    assert ranges == [(0, 2), (2, 5), (5, 8)]


def test_chunks_are_aligned_and_the_same_for_a_whole_round() -> None:
    ops = '{ op = "punch", chunk = 2 }, { op = "allocate", chunk = 2 }'
    ops += ', { op = "punch", chunk = 2, reroll = true }'
    session = run(FILE + host("h", ops, "repeat = 40\n"))
    results = session.results["h"].operations
    first, second, third = ([(r.lo, r.hi) for r in results[start::3]] for start in range(3))
    assert first == second != third
    assert set(first) == {(0, 2), (2, 4), (4, 6), (6, 8)}
    other = run(FILE + host("h", ops, "repeat = 40\n"), seed=1)
    assert [(r.lo, r.hi) for r in other.results["h"].operations[::3]] != first


def test_the_next_chunk_follows_the_last() -> None:
    punch = '{ op = "punch", start = 2, count = 6, chunk = 3, pick = "next" }'
    session = run(FILE + host("h", punch, "repeat = 3\n"))
    assert [(r.lo, r.hi) for r in session.results["h"].operations] == [(2, 5), (5, 8), (2, 5)]


def test_until_goes_on_while_the_background_does() -> None:
    text = (
        FILE
        + vcpu('{ op = "touch", count = 1, pace = "1us" }', 'until = "background done"\n')
        + host("b", '{ op = "punch" }', 'background = true\nrepeat = 3\ngap = "20us"\nstart = "5us"\n')
    )
    session = run(text)
    assert session.results["b"].rounds == 3
    assert session.results["vcpu0"].rounds > 3
    assert session.engine.now >= 65_000
    capped = run(text.replace("until", "repeat = 2\nuntil"))
    assert capped.results["vcpu0"].rounds == 2
    explored = run(text, strategy=RandomStrategy(1), max_steps=10_000)
    assert explored.results["vcpu0"].rounds <= 2
    assert explored.engine.now == 0


def test_times_can_be_ranges() -> None:
    text = FILE + host("h", '{ op = "sleep", time = "1us..9us" }', "repeat = 20\n")
    first, again, other = run(text), run(text), run(text, seed=1)
    assert first.engine.now == again.engine.now != other.engine.now
    assert 20_000 <= first.engine.now <= 180_000


def test_a_barrier_lets_go_when_all_are_there_or_gone() -> None:
    text = FILE + host(
        "a", '{ op = "sleep", time = "50us" }, { op = "barrier", barrier = "b" }', "repeat = 2\n"
    )
    text += host("c", '{ op = "barrier", barrier = "b" }, { op = "punch" }', "repeat = 3\n")
    session = run(text)
    assert session.results["c"].rounds == 3
    assert session.engine.now >= 100_000


def test_a_signal_ends_a_call_and_only_a_call() -> None:
    pending = FILE + vcpu('{ op = "signal_pending" }, { op = "prefault" }, { op = "prefault" }')
    assert outcomes(run(pending)) == ["ok", "EINTR", "ok"]
    lost = FILE + vcpu('{ op = "sleep", time = "9us" }, { op = "prefault" }')
    lost += host("k", '{ op = "signal", task = "vcpu0" }')
    session = run(lost)
    assert outcomes(session) == ["ok", "ok"]
    assert session.summary().events["signal_sent"] == 1
    late = FILE + vcpu('{ op = "punch" }')
    late += host("k", '{ op = "sleep", time = "1ms" }, { op = "signal", task = "vcpu0" }')
    assert outcomes(run(late), "k") == ["ok", "ESRCH"]


def test_fault_points_fire_by_seed_and_within_their_budget() -> None:
    text = (
        FILE
        + host("h", '{ op = "allocate" }, { op = "punch" }', "repeat = 40\n")
        + "[faults]\nalloc_folio = 3\n"
    )
    counts = {run(text, seed=seed).results["h"].outcomes["allocate"]["ENOMEM"] for seed in range(4)}
    assert counts == {3}


def test_what_the_vmm_does_about_a_memory_fault_exit() -> None:
    def exits(policy: str, private: str) -> Session:
        text = f'[[vm]]\non_memory_fault = "{policy}"\n' + FILE
        text += vcpu(
            f'{{ op = "write", value = "v", count = 2, private = {private} }}, {{ op = "read", count = 2 }}'
        )
        return run(text, "snp")

    converted = exits("convert", "false")
    assert outcomes(converted) == ["ok", "ok"]
    assert converted.results["vcpu0"].exits == {"memory_fault": 2}
    assert converted.machine.vm("vm0").attributes == set(range(2, 8))
    stopped = exits("stop", "false")
    assert outcomes(stopped) == ["exit_memory_fault"]
    assert stopped.results["vcpu0"].stopped == "memory_fault"
    # Re-entering does not help against an access of the wrong kind: given up after so many exits.
    looped = exits("reenter", "false")
    assert outcomes(looped)[0] == "exit_loop"
    assert exits("reenter", "true").results["vcpu0"].exits == {}


def test_a_guest_accepts_each_page_once() -> None:
    text = FILE + vcpu('{ op = "touch" }', "instances = 4\nrepeat = 3\n")
    for kind in ("snp", "tdx"):
        session = run(text, kind)
        assert session.violations == []
        assert session.machine.accepted["vm0"].done == set(range(8))
    never = run(
        '[[vm]]\naccept = "never"\n' + FILE + vcpu('{ op = "touch", count = 1 }, { op = "accept" }'), "snp"
    )
    assert outcomes(never) == ["exception", "ok"]


def test_a_td_dies_of_a_lost_page_unless_its_guest_is_tolerant() -> None:
    body = FILE + vcpu('{ op = "touch" }, { op = "punch" }, { op = "touch" }')
    strict = run(body, "tdx")
    assert strict.results["vcpu0"].stopped == "dead"
    tolerant = run('[[vm]]\naccept = "tolerant"\nchoices = { sept_ve_disable = false }\n' + body, "tdx")
    assert outcomes(tolerant) == ["ok", "ok", "ok"]
    assert tolerant.results["vcpu0"].exits["exception"] == 8


def test_outside_memory_is_mmio() -> None:
    session = run(FILE + vcpu('{ op = "read", gfn = 100 }, { op = "prefault", gfn = 100 }'))
    assert outcomes(session) == ["exit_mmio", "ENOENT"]
    assert session.results["vcpu0"].exits == {"mmio": 1}


def test_host_mappings() -> None:
    text = FILE + '[[map]]\nid = "m"\nstart = 2\n[[map]]\nid = "n"\nabsent = true\n'
    text += host(
        "h",
        '{ op = "host_write", value = "v", start = 1, count = 1 }, { op = "host_read", count = 2 }, '
        '{ op = "host_read", map = "n", count = 1 }, { op = "mmap", map = "n" }, '
        '{ op = "host_read", map = "n", start = 3, count = 1 }, { op = "munmap", map = "n" }, '
        '{ op = "madvise", map = "n" }, { op = "mmap", map = "n", shared = false }, { op = "madvise" }, '
        '{ op = "pin", count = 1 }, { op = "unpin", count = 2 }',
    )
    session = run(text)
    assert outcomes(session, "h") == [
        "ok", "ok", "SIGSEGV", "ok", "ok", "ok", "ENOMEM", "EINVAL", "ok", "ok", "EINVAL",
    ]  # fmt: skip
    results = session.results["h"].operations
    assert results[1].values == ("zero", "data:v")
    assert results[4].values == ("data:v",)
    assert session.results["h"].outcomes["unpin"] == {"ok": 1, "EINVAL": 1}


def test_closing_a_mapped_file_releases_it_at_munmap() -> None:
    text = '[[file]]\nid = "g"\npages = 2\n[[slot]]\nfile = "g"\nuserspace = "u0"\n[[map]]\nid = "m"\n'
    close = '{ op = "host_write", value = "v" }, { op = "close", file = "g" }, { op = "host_read" }'
    session = run(text + host("h", close))
    assert outcomes(session, "h") == ["ok", "ok", "ok"]
    assert "close" not in session.summary().events
    session = run(text + host("h", close + ', { op = "munmap", map = "m" }'))
    assert session.summary().events["close"] == 1
    assert session.machine.world.inodes == {}
    # Its locks are still counted.
    names = {row.name for row in session.locks()}
    assert names == {"folio_lock", "i_mmap_rwsem", "invalidate_lock", "mmap_lock", "mmu_lock", "slots_lock"}


def test_an_expectation_that_fails_is_a_violation() -> None:
    session = run(FILE + host("h", '{ op = "punch", expect = ["EINVAL", "EIO"] }'))
    (violation,) = session.summary().violations
    assert violation.rule == "unexpected_outcome"
    assert violation.text == "h call 1: punch came to ok, expected EINVAL or EIO"


def test_per_thread_mappings() -> None:
    text = FILE + '[[map]]\nid = "m"\neach = "h"\n' + host("h", '{ op = "host_touch" }', "instances = 2\n")
    session = run(text)
    assert set(session.machine.world.mappings) == {"slot0.hva", "m.h0", "m.h1"}


def test_two_vms_of_different_types() -> None:
    text = (
        '[[vm]]\nid = "a"\ntype = "snp"\n[[vm]]\nid = "b"\n'
        '[[file]]\nid = "ga"\npages = 2\n[[file]]\nid = "gb"\nvm = "b"\npages = 2\n'
        '[[slot]]\nid = 0\nfile = "ga"\n[[slot]]\nid = 1\nfile = "gb"\n'
        + vcpu('{ op = "touch" }')
        + vcpu('{ op = "touch" }', 'vm = "b"\n')
    )
    session = run(text, "default")
    assert set(session.results) == {"vcpu0", "b.vcpu0"}
    assert session.machine.vm("a").attributes == {0, 1}
    assert session.machine.vm("b").attributes == set()


def test_aliases_of_the_vectors() -> None:
    text = FILE + vcpu('{ op = "guest_write", value = "v" }, { op = "punch_hole" }, { op = "pre_fault" }')
    assert [r.op for r in run(text).results["vcpu0"].operations] == ["write", "punch", "prefault"]


def test_a_run_without_end_is_ended() -> None:
    text = FILE + host("h", '{ op = "sleep", time = "1us" }', "repeat = 1000000\n")
    with pytest.raises(TimeLimit, match="no end after 1 ms of virtual time"):
        run(text, max_virtual_ns=1_000_000)
    with pytest.raises(StepLimit):
        run(text, max_steps=1000)


def test_a_deadlock_is_found_in_spite_of_the_watchdog() -> None:
    # Two pages of locks would need a broken kernel; a barrier that one party never reaches will do.
    text = FILE + host("a", '{ op = "barrier", barrier = "b" }')
    text += host("c", '{ op = "sleep", time = "1us" }, { op = "barrier", barrier = "b" }')
    session = build(loads(HEAD + text), "v3", "default", options=Options(max_virtual_ns=10**9))
    session.barriers["b"].parties = 3
    with pytest.raises(Deadlock, match=r"a waits for barrier\.b"):
        session.run()


def test_the_lock_of_the_invalidate_lock_can_be_swapped() -> None:
    made: list[str] = []

    class Noted(RwSem):
        def __init__(self, label: str, cls: LockClass | None = None, *, line_ns: int = 0) -> None:
            super().__init__(label, cls, line_ns=line_ns)
            made.append(label)

    run(FILE + host("h", '{ op = "punch" }'), policy=Noted)
    assert made == ["g.invalidate_lock"]
    for name in LOCK_POLICIES:
        (row,) = [
            row
            for row in run(FILE + host("h", '{ op = "punch" }'), policy=name).locks()
            if row.name == "invalidate_lock"
        ]
        assert row.write.acquisitions == 1
    with pytest.raises(ScenarioError, match="no lock policy 'fair'; did you mean phase-fair"):
        run(FILE + host("h", '{ op = "punch" }'), policy="fair")


def test_nothing_is_counted_or_kept_on_request() -> None:
    session = run(FILE + vcpu('{ op = "touch" }'), count=False, keep_results=False)
    assert session.summary().events == {}
    assert session.results["vcpu0"].operations == []
    assert session.results["vcpu0"].outcomes == {"touch": {"ok": 8}}


def test_a_session_that_is_never_run_leaves_nothing_behind() -> None:
    build(load_named("same"), "v3")


def test_a_file_closed_during_populate_is_released_when_populate_returns() -> None:
    text = (
        FILE
        + host("h", '{ op = "populate", source = "image.{page}" }')
        + host("c", '{ op = "close", file = "g" }')
    )
    found = set()
    for seed in range(40):
        session = run(text, "snp", strategy=RandomStrategy(seed))
        (result,) = session.results["h"].operations
        assert result.outcome == "EIO"
        found.add(result.values)
        assert session.summary().events["close"] == 1
    assert found == {("0", "EIO"), ("0", "EFAULT")}  # The launch is over, or the file was closed first.


@pytest.mark.parametrize(
    ("patch", "missing"), [("v3", ("EIO", ("0", "EINVAL"))), ("mainline-7.3", ("EINVAL", ("0",)))]
)
def test_what_snp_launch_update_says_of_a_source_that_is_missing(
    patch: str, missing: tuple[str, tuple[str, ...]]
) -> None:
    """-EINVAL where the command looks itself; -EIO for whatever is found below it, the firmware's error included."""
    text = (
        FILE
        + "[setup]\nfinalize = false\n"
        + host("h", '{ op = "populate", count = 1 }, { op = "populate", type = "zero", count = 1 }')
        + "[faults]\npsp_launch_update = 1\n"
    )
    first, second = run(text, "snp", patch, strategy=AlwaysFault()).results["h"].operations
    assert (first.outcome, first.values) == missing
    assert (second.outcome, second.values) == ("EIO", ("0", "EIO"))
