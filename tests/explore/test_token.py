"""A token carries a run to another process: same choices, failure and bytes; or it says where it no longer fits."""

from __future__ import annotations

import base64
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import attrs
import msgspec
import pytest
from tests.explore.mutants import NoRecheck, ZapsNothing

from gmemsim.actors.release import RELEASES
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.engine.tape import Tape
from gmemsim.explore.measure import Attempt, attempt
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.replay import replay
from gmemsim.explore.token import PREFIX, decode, encode
from gmemsim.explore.token_columns import pack, unpack
from gmemsim.explore.token_names import TokenError
from gmemsim.patches.registry import load_patch
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads

PUNCH = ScenarioProgram(scenario=load_named("punch"), patch="v3")


def failing(program: ScenarioProgram) -> Attempt:
    for seed in range(200):
        found = attempt(program, RandomStrategy(seed))
        if found.failure is not None:
            return found
    pytest.fail("no schedule fails")


def body(token: str) -> list[object]:
    """What is inside a token, as plain values."""
    packed = token.removeprefix(PREFIX)
    values = zlib.decompress(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    return msgspec.msgpack.decode(values, type=list[object])


def sealed(values: list[object]) -> str:
    """The reverse of `body`."""
    return PREFIX + base64.urlsafe_b64encode(zlib.compress(msgspec.msgpack.encode(values))).decode().rstrip(
        "="
    )


@pytest.mark.parametrize("scenario", ["punch", "conv1punch", "prefault"])
@pytest.mark.parametrize("arch", ["sw-protected", "snp", "tdx"])
def test_round_trip(scenario: str, arch: str) -> None:
    program = ScenarioProgram(scenario=load_named(scenario), patch="v3", arch=arch, seed=7)
    run = attempt(program, RandomStrategy(3))
    token = encode(program, run.tape)
    assert decode(token).tape.raw == run.tape.raw
    again = replay(token)
    assert (again.diverged, again.same_failure, again.same_log, again.notes) == ("", True, True, ())
    assert again.attempt is not None
    assert again.attempt.measure == run.measure
    assert encode(program, run.tape) == token


def test_everything_that_was_set_is_set_again() -> None:
    program = ScenarioProgram(
        scenario=load_named("punch"),
        patch=load_patch("mainline-7.3"),
        arch="snp",
        vcpus=2,
        seed=11,
        release=RELEASES["6.18"],
        parameters={"pages": 2},
        policy=LOCK_POLICIES["fifo"],
        rules=frozenset({"I2", "I4"}),
        until_rounds=1,
    )
    found = decode(encode(program, attempt(program, RandomStrategy(1)).tape, max_steps=777))
    assert found.max_steps == 777
    assert found.program() == attrs.evolve(program, patch="mainline-7.3", release="6.18", policy="fifo")


def test_a_token_carries_a_scenario_that_is_not_the_librarys() -> None:
    text = load_named("punch").source.text.replace("chunk = 1", "chunk = 1 # mine")
    program = ScenarioProgram(scenario=loads(text, "mine.toml"), patch="v3")
    token = encode(program, attempt(program, RandomStrategy(1)).tape)
    assert decode(token).program().scenario.source.text == text
    assert replay(token).same_log
    # One of the library goes by name, which is shorter.
    assert len(encode(PUNCH, attempt(PUNCH, RandomStrategy(1)).tape)) < len(token) - 400


def test_another_process_replays_a_failure_of_a_patch_file_to_the_same_bytes(tmp_path: Path) -> None:
    patch = tmp_path / "mine.py"
    patch.write_text(
        textwrap.dedent(
            """
            from gmemsim.patches.v3 import V3


            class Mine(V3):
                async def kvm_gmem_clear_folio(self, t, inode, folio, pages):
                    await super().kvm_gmem_clear_folio(t, inode, folio, 0)
            """
        )
    )
    program = ScenarioProgram(scenario=load_named("punch"), patch=f"{patch}:Mine")
    token = encode(program, failing(program).tape)
    script = """
        import sys
        from gmemsim.explore.replay import replay
        again = replay(sys.argv[1], patch=sys.argv[2])
        print(again.failure.rule, again.diverged, again.same_log, again.notes)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), token, f"{patch}:Mine"]
    out = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}
    ).stdout
    assert out == "I2  True ()\n"
    # The file is changed: that is said, and nothing else is wrong as long as it does the same.
    patch.write_text(patch.read_text() + "\n# a comment\n")
    again = replay(token, patch=f"{patch}:Mine")
    assert again.same_log
    assert len(again.notes) == 1
    assert "sources" in again.notes[0]


@pytest.mark.parametrize("position", [0, 9, -1])
def test_divergence_names_the_choice(position: int) -> None:
    run = attempt(PUNCH, RandomStrategy(1))
    raw = list(run.tape.raw)
    position %= len(raw)
    task, call, label, value, bound = raw[position]
    raw[position] = (task, call + 1, label, value, bound)
    token = msgspec.structs.replace(decode(encode(PUNCH, run.tape)), columns=pack(Tape(raw)))
    again = replay(token)
    assert again.attempt is None
    assert again.diverged == (
        f"diverged at draw {position}: {task} call {call} draws {label} (of {bound}), "
        f"the tape has {task} call {call + 1} {label} (of {bound})"
    )
    assert len(again.entries) > 0


def test_a_fixed_patch_leaves_the_tape_and_can_be_followed() -> None:
    program = attrs.evolve(PUNCH, patch=NoRecheck)
    for seed in range(200):
        run = attempt(program, RandomStrategy(seed))
        if run.failure is None:
            continue
        token = encode(program, run.tape)
        again = replay(token, patch=V3)
        if again.diverged:
            break
    else:
        pytest.fail("the fixed patch draws the same every time")
    position = int(again.diverged.removeprefix("diverged at draw ").split(":")[0])
    followed = replay(token, patch=V3, follow=True)
    assert followed.attempt is not None
    assert followed.diverged.startswith("left the tape after")
    assert followed.attempt.tape.raw[:position] == run.tape.raw[:position]
    assert (followed.failure, followed.same_failure, followed.same_log) == (None, False, False)
    assert len(followed.notes) == 1


def test_the_same_choices_with_other_events_are_not_the_same_log() -> None:
    program = attrs.evolve(PUNCH, patch=ZapsNothing, rules=frozenset())
    run = attempt(program, RandomStrategy(0))
    token = encode(program, run.tape)
    values = body(token)
    values[6] = b"\0" * 12
    again = replay(sealed(values), program=program)
    assert again.diverged == ""
    assert again.same_failure
    assert not again.same_log


def test_a_run_that_ends_before_its_tape_diverges() -> None:
    run = attempt(PUNCH, RandomStrategy(1))
    token = msgspec.structs.replace(
        decode(encode(PUNCH, run.tape)), columns=pack(Tape([*run.tape.raw, ("punch", 1, "sched", 0, 2)]))
    )
    assert replay(token).diverged == (
        f"diverged at draw {len(run.tape)}: the run ends, the tape has {len(run.tape) + 1} choices"
    )


def test_a_program_in_python_needs_the_program() -> None:
    def setup(engine: object) -> object:
        async def body(t: object) -> None:
            await t.point(Op("step", "x"))  # type: ignore[attr-defined]

        engine.spawn("a", body)  # type: ignore[attr-defined]
        engine.spawn("b", body)  # type: ignore[attr-defined]
        return lambda: "done"

    program = TaskProgram("two", setup)  # type: ignore[arg-type]
    token = encode(program, attempt(program, RandomStrategy(1)).tape)
    assert replay(token, program=program).same_log
    with pytest.raises(TokenError, match="two is a program in Python"):
        replay(token)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda token: "gm2:" + token[4:], "starts with gm1:, this one with 'gm2:"),
        (lambda token: token[:-9], "cut off|damaged"),
        (lambda token: token + "AAAA", "something follows"),
        (lambda token: token[:20] + ("A" if token[20] != "A" else "B") + token[21:], "damaged"),
        (lambda token: token[:20] + "!" + token[21:], "damaged"),
        (lambda token: sealed([2, *body(token)[1:]]), "of version 2; this gmemsim reads version 1"),
        (lambda token: sealed(body(token)[:-2]), "damaged"),
        (lambda token: sealed([*body(token)[:-1], [["a"], 1, b"\0", b"\1", b"\0", b"\0", b"\2"]]), "choice 0"),
        (lambda token: sealed([*body(token)[:-1], [["a"], 2, b"\0", b"\0", b"\0", b"\0", b"\2"]]), "incomplete"),
        (lambda token: sealed([*body(token)[:-1], [["a"], 1, b"\0", b"\0", b"\0", b"\0", b"\x82"]]), "no end"),
    ],
    ids=["prefix", "cut", "longer", "changed", "character", "version", "fields", "name", "count", "number"],
)  # fmt: skip
def test_what_is_no_token(change: object, message: str) -> None:
    token = encode(PUNCH, attempt(PUNCH, RandomStrategy(1)).tape)
    with pytest.raises(TokenError, match=message) as error:
        decode(change(token))  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_a_wrapped_token_is_read() -> None:
    token = encode(PUNCH, attempt(PUNCH, RandomStrategy(1)).tape)
    assert decode("\n  ".join(textwrap.wrap(token, 40))) == decode(token)


def test_another_library_scenario_is_refused() -> None:
    token = decode(encode(PUNCH, attempt(PUNCH, RandomStrategy(1)).tape))
    assert token.target is not None
    other = msgspec.structs.replace(token.target, digest=b"12345678")
    with pytest.raises(TokenError, match=r"punch.toml: the library's scenario is another"):
        replay(msgspec.structs.replace(token, target=other))
    gone = msgspec.structs.replace(token.target, scenario="gone.toml")
    with pytest.raises(TokenError, match=r"no scenario gone.toml"):
        replay(msgspec.structs.replace(token, target=gone))


def test_what_has_no_name_gets_no_token() -> None:
    program = attrs.evolve(PUNCH, release=attrs.evolve(RELEASES["6.18"], name="mine"))
    with pytest.raises(TokenError, match="mine is not one of"):
        encode(program, attempt(program, RandomStrategy(1)).tape)


@pytest.mark.parametrize("calls", [[0], [5, 5, 4, 1003, 2], [1 << 40, 0, 1 << 40]])
def test_columns(calls: list[int]) -> None:
    raw = [(f"task{call % 3}", call, "sched", call % 7, 300) for call in calls]
    assert unpack(pack(Tape(raw))).raw == raw


def test_size_per_choice() -> None:
    """A long run costs well under a byte and a half per choice, although every key is kept."""
    program = ScenarioProgram(scenario=load_named("punch"), vcpus=3, parameters={"rounds": 3, "pages": 4})
    run = attempt(program, RandomStrategy(1))
    assert len(run.tape) > 300
    assert len(encode(program, run.tape)) < 400 + 1.5 * len(run.tape)
