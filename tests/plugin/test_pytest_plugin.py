"""The pytest plugin, seen from other people's test suites."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]

#: A kernel that maps after it looked, without looking again.
PATCH = """
    from gmemsim.testing import V3

    class NoRecheck(V3):
        def mmu_invalidate_retry_gfn(self, vm, seq, gfn):
            return False

        async def mmu_invalidate_retry_gfn_unsafe(self, t, vm, seq, gfn):
            return False
"""

TRIO = """
    import pytest
    from mine import NoRecheck
    from gmemsim.testing import V3

    @pytest.mark.trio
    @pytest.mark.gmemsim(schedules=40, strategy="random")
    @pytest.mark.parametrize("patch", [V3, NoRecheck])
    async def test_punch(gmem_schedule, patch):
        session = gmem_schedule.build("punch", patch, "sw-protected")
        await session.run_async()
        assert session.results["vcpu0"].rounds <= 2
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty suite with a patch in it."""
    pytester.makepyfile(mine=PATCH)
    pytester.makepyprojecttoml("[tool.pytest.ini_options]\nfilterwarnings = ['error']\n")
    pytester.syspathinsert()
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """pytest in this process; the plugin is named where the installed metadata do not know it yet."""
    known = any(entry.name == "gmemsim" for entry in entry_points(group="pytest11"))
    return suite.runpytest_inprocess(
        *([] if known else ["-p", "gmemsim.pytest_plugin"]), "-p", "no:cacheprovider", *arguments
    )


def test_the_entry_point_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"gmemsim": "gmemsim.pytest_plugin"}


def test_the_plugin_imports_next_to_nothing() -> None:
    """Every pytest run of the environment loads it."""
    code = "import pytest, sys; old = set(sys.modules); import gmemsim.pytest_plugin; print(*set(sys.modules) - old)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert sorted(out.split()) == ["gmemsim", "gmemsim.pytest_plugin"]


def test_a_trio_test_runs_once_per_schedule(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_it=TRIO)
    result = run(suite, "-v")
    result.assert_outcomes(passed=1, failed=1)
    output = result.stdout.str()
    found = re.search(r"gmemsim: 2 tests, (\d+) schedules, (\d+) distinct classes, seed 0", output)
    assert found
    assert 40 < int(found[1]) <= 80
    assert int(found[2]) <= int(found[1])
    passed = re.search(r"test_punch\[V3\]: 40 schedules, (\d+) classes", output)
    assert passed
    # It explores: more than every third random schedule is one that is not equivalent to any before.
    assert int(passed[1]) >= 15
    assert "I18" in output
    result.stdout.re_match_lines_random(
        [r"schedule \d+, strategy random, seed 0", r"shrunk: .* calls -> 2, .*"]
    )


def test_a_failure_is_run_again_by_its_token(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_it=TRIO)
    output = run(suite).stdout.str()
    line = re.search(r"to run it again: pytest '(?P<test>[^']*)' --gmemsim-replay (?P<token>\S+)", output)
    small = re.search(r"^gmemsim replay (?P<token>\S+) --patch (?P<patch>\S+)$", output, re.MULTILINE)
    assert line
    assert small
    again = run(suite, line["test"], "--gmemsim-replay", line["token"])
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*the schedule of --gmemsim-replay*", "gmemsim: 1 test, 1 schedules, *"])
    # The other one is for the command line: it holds its workload.
    from gmemsim.explore.replay import replay

    shown = replay(small["token"], patch=small["patch"])
    assert shown.failure is not None
    assert (shown.failure.rule, shown.diverged, shown.same_log) == ("I18", "", True)
    # A token of another run is not taken for this one.
    other = run(suite, line["test"].replace("NoRecheck", "V3"), "--gmemsim-replay", small["token"])
    other.assert_outcomes(failed=1)
    other.stdout.fnmatch_lines(["*the token is of another run than this test makes*"])


def test_options_go_before_the_marker(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.gmemsim(schedules=3, seed=5, strategy="portfolio")
        def test_seed(gmem_schedule):
            gmem_schedule.build("punch").run()
            print("seed", gmem_schedule.seed, "number", gmem_schedule.number)
        """
    )
    result = run(suite, "-s")
    result.stdout.fnmatch_lines(["*seed 5 number 3", "gmemsim: 1 test, 3 schedules, *, seed 5"])
    result = run(suite, "-s", "--gmemsim-schedules=7", "--gmemsim-seed=9")
    result.stdout.fnmatch_lines(["*seed 9 number 7", "gmemsim: 1 test, 7 schedules, *, seed 9"])
    result = run(suite, "--gmemsim-seconds=0")
    result.stdout.fnmatch_lines(["gmemsim: 1 test, 1 schedules, *"])
    result = run(suite, "--gmemsim-replay=gm1:x")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*--gmemsim-replay: the token is damaged*"])


def test_a_strategy_that_runs_out_ends_the_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_it="""
        import pytest
        from gmemsim.testing import loads

        SMALL = loads('''
            [scenario]
            name = "small"
            summary = "Two descriptors"
            [[file]]
            id = "a"
            pages = 1
            [[file]]
            id = "b"
            pages = 1
            [[task]]
            name = "one"
            ops = [{ op = "close", file = "a" }]
            [[task]]
            name = "two"
            ops = [{ op = "sleep", time = 1 }]
        ''')
        after = []

        @pytest.mark.gmemsim(schedules=100000, strategy="dfs")
        def test_all(gmem_schedule):
            session = gmem_schedule.build(SMALL).run()
            after.append(session.engine.tape.raw)

        def test_afterwards():
            assert len(after) == len({tuple(raw) for raw in after}) > 2
        """
    )
    result = run(suite, "-v")
    result.assert_outcomes(passed=2)
    result.stdout.re_match_lines_random([r".*test_all: \d+ schedules, \d+ classes, nothing left to try"])


def test_a_loop_that_nobody_can_leave_fails(suite: pytest.Pytester) -> None:
    """A search of states cuts every run in it, so no run shows it; `check` says it as well."""
    suite.makepyfile(
        test_it="""
        from gmemsim.engine.cell import Cell
        from gmemsim.testing import ScheduleFailure, V3, check, loads

        SCENARIO = loads('''
        [scenario]
        name = "two"
        summary = "Two holes"
        question = "Does it end?"

        [[file]]
        id = "gmem0"
        pages = 1

        [[slot]]
        file = "gmem0"

        [[task]]
        name = "host"
        instances = 2
        ops = [{ op = "punch" }]
        ''')

        class Waits(V3):
            def __init__(self, *args, **options):
                super().__init__(*args, **options)
                self.flag = Cell("flag", 0)

            async def kvm_gmem_punch_hole(self, t, *args, **options):
                while not await self.flag.load(t):
                    pass
                return await super().kvm_gmem_punch_hole(t, *args, **options)

        def test_schedules(gmem_schedule):
            gmem_schedule.build(SCENARIO, Waits, "sw-protected").run()

        def test_check():
            try:
                check(SCENARIO, Waits, "sw-protected")
            except ScheduleFailure as failure:
                assert str(failure).startswith("livelock: host0, host1 went round for ever")
            else:
                raise AssertionError
        """
    )
    result = run(suite, "-q")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*livelock: host0, host1 went round for ever*"])


def test_a_workload_that_comes_to_the_wrong_outcome_fails(suite: pytest.Pytester) -> None:
    """Nothing is raised, and the test does not look."""
    suite.makepyfile(
        test_it="""
        from gmemsim.testing import load_named, loads

        WRONG = loads(load_named("punch").source.text.replace('expect = "ok"', 'expect = "EINVAL"'))

        def test_it(gmem_schedule):
            gmem_schedule.build(WRONG).run()
        """
    )
    result = run(suite)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*unexpected_outcome: punch0 call 1: punch came to ok, expected EINVAL*"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def test_it(gmem_schedule): pass", "the test has not called gmem_schedule.build"),
        (
            "def test_it(gmem_schedule): gmem_schedule.build('punch'); gmem_schedule.build('punch')",
            "one session a test",
        ),
        (
            "@pytest.mark.gmemsim(schedule=4)\ndef test_it(gmem_schedule): pass",
            "the marker gmemsim takes schedules=*, strategy=*, seconds=*, seed=*, not schedule",
        ),
        ("@pytest.mark.gmemsim(strategy='x')\ndef test_it(gmem_schedule): pass", "no strategy 'x': there are *"),
        (
            "@pytest.fixture\nasync def thing(): yield 1\n\n"
            "@pytest.mark.trio\nasync def test_it(gmem_schedule, thing): pass",
            "the async fixture thing can be set up once",
        ),
        ("async def test_it(gmem_schedule): pass", "async def functions are not natively supported*"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_said(suite: pytest.Pytester, body: str, message: str) -> None:
    suite.makepyfile(test_it=f"import pytest\n\n{body}\n")
    result = run(suite)
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"*{message}*"])


def test_the_check_fixture_takes_the_budget(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_it="""
        import pytest
        from mine import NoRecheck
        from gmemsim.testing import ScheduleFailure

        @pytest.mark.gmemsim(schedules=30)
        def test_fine(gmem_check):
            done = gmem_check("punch", "v3", "sw-protected")
            assert done.search.sampled == 30
            assert done.search.states >= 60

        def test_found(gmem_check):
            with pytest.raises(ScheduleFailure, match="I18"):
                gmem_check("punch", NoRecheck, "sw-protected", strategy="random")
        """
    )
    result = run(suite)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["gmemsim: 2 tests, * schedules, *"])


def test_counts_come_back_from_other_processes(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_it=TRIO)
    result = run(suite, "-n2", "-p", "xdist")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*to run it again: pytest *", "gmemsim: 2 tests, * schedules, * distinct classes, seed 0"]
    )


def test_the_example_for_users_passes_and_imports_the_public_api_only(suite: pytest.Pytester) -> None:
    text = (ROOT / "examples" / "test_my_patch.py").read_text()
    modules = set(re.findall(r"^(?:from|import) (\S+)", text, re.MULTILINE))
    assert modules == {"__future__", "pytest", "hypothesis", "gmemsim.testing"}
    # Fewer schedules than a user's patch is worth: this one is v3.
    assert "schedules=300" in text
    text = text.replace("schedules=300", "schedules=10")
    suite.makepyfile(test_my_patch=text)
    result = run(suite)
    result.assert_outcomes(passed=10)
    # A kernel without the clearing is caught by every test; Hypothesis would take its time to shrink.
    (broken,) = re.findall(r"^ *await self\.kvm_gmem_clear_folio.*$", text, re.MULTILINE)
    suite.makepyfile(test_my_patch=text.replace(broken, broken.split("await")[0] + "pass"))
    run(suite, "-k", "known or vm_types or assertion").assert_outcomes(failed=8)
