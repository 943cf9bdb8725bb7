"""The pytest plugin does not pass what it did not run, and says which seeds and which budget it ran it with."""

from __future__ import annotations

import pytest

from gmemsim.testing import check

pytest_plugins = ["pytester"]

PATCHES = """
    import pytest
    from gmemsim.testing import V3

    class Quiet(V3):
        async def memory_failure(self, t, inode, index):
            return await super().memory_failure(t, inode, index)

    class Keeps(V3):
        count = {"n": 0}

        async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):
            self.count["n"] += 1
            return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)

    @pytest.mark.gmemsim(schedules=3, strategy="random")
    @pytest.mark.parametrize("patch", [V3, Quiet, Keeps])
    def test_runs(gmem_schedule, patch):
        gmem_schedule.build("hole", patch, "sw-protected").run()

    @pytest.mark.gmemsim(schedules=3, strategy="random")
    def test_builds_only(gmem_schedule):
        gmem_schedule.build("hole", V3, "sw-protected")

    @pytest.mark.gmemsim(schedules=3)
    def test_checks(gmem_check):
        done = gmem_check("hole", V3, "sw-protected", strategy="random", schedules=7, seed=9)
        assert done.search.schedules == 7
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_it=PATCHES)
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return suite.runpytest_inprocess("-p", "no:cacheprovider", "-W", "default", *arguments)


def test_a_session_that_is_built_and_not_run_fails(suite: pytest.Pytester) -> None:
    done = run(suite, "-k", "builds_only")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["the test has not run the session of gmem_schedule.build*"])


@pytest.mark.parametrize("count", ["0", "-2"])
def test_no_schedule_is_no_pass(suite: pytest.Pytester, count: str) -> None:
    run(suite, "-k", "test_runs and V3", "--gmemsim-schedules", count).assert_outcomes(failed=1)


@pytest.mark.parametrize("budget", [{"schedules": 0}, {"schedules": -4, "strategy": "auto"}, {"seconds": 0}])
def test_no_schedule_is_no_check(budget: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no schedule was run"):
        check("hole", "v3", "sw-protected", **{"strategy": "random"} | budget)  # type: ignore[arg-type]


def test_what_never_ran_and_what_outlives_a_run_is_told(suite: pytest.Pytester) -> None:
    done = run(suite, "-k", "test_runs")
    done.assert_outcomes(passed=2, failed=1, warnings=1)
    done.stdout.fnmatch_lines(
        ["*Keeps.count was changed*", "*NeverRan: Your `memory_failure` never ran in 3 runs."]
    )


def test_the_command_line_goes_before_the_call(suite: pytest.Pytester) -> None:
    done = run(suite, "-k", "checks")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["gmemsim: 1 test, 7 schedules, * seed 9"])
    done = run(suite, "-k", "checks", "--gmemsim-schedules", "2", "--gmemsim-seed", "4")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["gmemsim: 1 test, 2 schedules, * seed 4"])


def test_a_search_is_not_passed_where_one_schedule_was_asked_for(suite: pytest.Pytester) -> None:
    run(suite, "-k", "checks", "--gmemsim-replay", "gm1:nothing").assert_outcomes(skipped=1)


SINGLE = """
    from hypothesis import given, settings
    from hypothesis.stateful import run_state_machine_as_test
    from gmemsim.testing import V3, GmemMachine, load_named, run_once, schedules

    class Half(V3):
        async def memory_failure(self, t, inode, index):
            return await super().memory_failure(t, inode, index)

        async def kvm_gmem_get_pfn(self, t, *rest):
            return await super().kvm_gmem_get_pfn(t, *rest)

    SETTINGS = settings(max_examples=5, deadline=None, database=None)

    @SETTINGS
    @given(schedules())
    def test_single_runs(schedule):
        run_once("hole", Half, "sw-protected", schedule=schedule)

    class Machine(GmemMachine):
        patch = Half

    def test_machine():
        run_state_machine_as_test(Machine, settings=settings(SETTINGS, stateful_step_count=20))

    def test_other():
        pass
"""


@pytest.mark.parametrize("test", ["test_single_runs", "test_machine"])
def test_what_ran_in_no_single_run_is_said(pytester: pytest.Pytester, test: str) -> None:
    """Once, of all runs of the test together; and not in the next test."""
    pytester.makepyfile(test_it=SINGLE)
    done = run(pytester, "-k", f"{test} or test_other")
    done.assert_outcomes(passed=2, warnings=1)
    done.stdout.fnmatch_lines(["*NeverRan: Your `memory_failure` never ran in * runs."])
