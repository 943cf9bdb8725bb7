"""Play a token again, and say whether the same came of it: the same choices, the same failure, the same log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..audit.events import Access
from ..audit.recorder import Recorder
from ..engine.errors import TapeMismatch
from ..engine.strategy import ReplayStrategy
from .accesses import record_accesses
from .lenient import LenientReplay
from .measure import Attempt, attempt
from .program import ScenarioProgram
from .token import Token, decode, log_digest
from .token_names import oracle_digest, oracle_names, patch_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..actors.kernel import Kernel
    from ..engine.engine import Engine
    from ..oracles.own import Oracle
    from .failure import Failure
    from .runs import Program


@attrs.frozen
class Replayed:
    """What a replay came to.

    Attributes:
        attempt: the run; None if it diverged.
        entries: its audit log, with what each step touches (`accesses`).
        diverged: at which choice the replay left the tape, and how; empty if it did not.
        same_failure: it failed in the same way, or was as fine.
        same_log: it wrote the same bytes, accesses apart.
        notes: what is not as it was when the token was made, a line each.
    """

    token: Token
    program: Program
    attempt: Attempt | None
    entries: Recorder
    diverged: str
    same_failure: bool
    same_log: bool
    notes: tuple[str, ...]

    @property
    def failure(self) -> Failure | None:
        """What was wrong."""
        return None if self.attempt is None else self.attempt.failure


def replay(
    token: str | Token,
    *,
    patch: str | type[Kernel] | None = None,
    oracles: Sequence[str | type[Oracle]] = (),
    operations: Sequence[str] = (),
    program: Program | None = None,
    follow: bool = False,
) -> Replayed:
    """Run what the token says again.

    Args:
        patch: in place of the recorded one.
        oracles, operations: of users' files; those that were on have to be named again.
        program: in place of all that the token says was run; needed for a program in Python.
        follow: go on where the program draws what the tape does not have: such a draw gets the default answer.

    Raises:
        TokenError: no token, or it does not say what to run.
        ScenarioError, PatchError: what it says cannot be run.
    """
    token = decode(token) if isinstance(token, str) else token
    program = token.program(patch, oracles, operations) if program is None else program
    # Before anything of it runs.
    notes = _notes(token, program)
    recorder = Recorder()
    tape = token.tape
    strategy = LenientReplay(tape) if follow else ReplayStrategy(tape)

    def watch(engine: Engine) -> None:
        record_accesses(engine, recorder.rec)

    diverged = ""
    done: Attempt | None = None
    try:
        done = attempt(program, strategy, max_steps=token.max_steps, rec=recorder.rec, watch=watch)
    except TapeMismatch as error:
        diverged = f"diverged at {error}"
    if done is None:
        return Replayed(token, program, None, recorder, diverged, False, False, notes)
    if follow and strategy.replay.diverged_at is not None:
        diverged = f"left the tape after {strategy.replay.diverged_at} of {len(tape)} choices"
    elif len(done.tape) < len(tape):
        diverged = f"diverged at draw {len(done.tape)}: the run ends, the tape has {len(tape)} choices"
    failure = None if done.failure is None else done.failure.signature
    same_log = log_digest(entry for entry in recorder if not isinstance(entry[2], Access)) == token.log
    return Replayed(token, program, done, recorder, diverged, failure == token.failure, same_log, notes)


def _notes(token: Token, program: Program) -> tuple[str, ...]:
    target = token.target
    if target is None or not isinstance(program, ScenarioProgram):
        return ()
    from ..patches.registry import load_patch

    patch = load_patch(program.patch) if isinstance(program.patch, str) else program.patch
    notes = []
    digest = patch_digest(patch)
    if digest != target.patch_digest:
        notes.append(
            f"patch {target.patch}: its sources, or the model's, are others than when the token was made "
            f"(digest {digest.hex()}, the token has {target.patch_digest.hex()})"
        )
    names = oracle_names(program.oracles)
    digest = oracle_digest(program.oracles)
    if digest != target.oracle_digest:
        then = ", ".join(target.oracles) or "none"
        notes.append(
            f"rules of users' files: {', '.join(names) or 'none'} now, {then} when the token was made, and the "
            f"files are others (digest {digest.hex() or 'none'}, the token has {target.oracle_digest.hex() or 'none'})"
        )
    return tuple(notes)
