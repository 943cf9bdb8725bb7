"""The replay token: a failing run in one line of text that can be mailed, and says when it no longer fits.

`gm1:` and then, in URL-safe base64, a zlib stream of MessagePack: what was run (scenario, patch, VM type, release,
parameters, seed, …), every choice with its key, the failure, and a digest of the audit log. A scenario of the library
goes by name and digest; any other is carried along, so the token stands alone. Choices are columns of small numbers
(task, call, label, answer, bound), which compress to well under a byte each and still say exactly where a replay
diverges. A patch goes by name, with a digest of the sources that its class chain comes from: when that changed, the
replay says so, and its choices tell whether it matters.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from ..audit.bounded import clean
from ..audit.recorder import Recorder
from ..audit.render import render_lines
from ..engine.strategy import ReplayStrategy
from ..engine.tape import Tape
from ..oracles.every_rule import UnknownRule, left_out
from ..oracles.rules import RULES
from ..patches.registry import named
from .measure import attempt
from .program import ScenarioProgram, ScenarioRun, read_files
from .token_columns import Columns, pack, unpack
from .token_names import (
    TokenError,
    oracle_digest,
    oracle_names,
    patch_digest,
    patch_name,
    policy_name,
    release_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..actors.kernel import Kernel
    from ..audit.recorder import Entry
    from ..oracles.own import Oracle
    from ..scenarios.scenario import Scenario
    from .runs import Program

PREFIX: Final = "gm1:"
_SCHEMA: Final = 1
#: Bytes that a token unpacks to, which is some hundred thousand choices; a text that has more is none.
_LARGEST: Final = 4 << 20
#: Characters of a token: one that does not compress at all has so many.
LONGEST: Final = 6 << 20
#: Step limit that a token may ask for.
MOST_STEPS: Final = 1 << 22


class Target(msgspec.Struct, array_like=True, frozen=True):
    """What `ScenarioProgram` has, by name. `text` is empty for a scenario of the library as it is now."""

    scenario: str
    digest: bytes
    text: str
    patch: str
    patch_digest: bytes
    arch: str
    release: str
    vcpus: int | None
    seed: int
    parameters: dict[str, int | str | bool] | None
    small: bool
    policy: str | None
    rules: list[str] | None
    until_rounds: int | None
    without: list[str] = []
    oracles: list[str] = []
    oracle_digest: bytes = b""
    operations: list[str] = []


class Token(msgspec.Struct, array_like=True, frozen=True):
    """A decoded token.

    Attributes:
        schema: version of this layout.
        name: of the program.
        target: None for a program in Python, which whoever replays it has to supply.
        max_steps: step limit of the run.
        failure: rule and kind (`Failure.signature`); None: the run was fine.
        steps: resumptions.
        log: digest of the audit log, canonical JSON lines.
        columns: the choices.
    """

    schema: int
    name: str
    target: Target | None
    max_steps: int
    failure: tuple[str, str] | None
    steps: int
    log: bytes
    columns: Columns

    @property
    def tape(self) -> Tape:
        """The choices.

        Raises:
            TokenError: damaged.
        """
        return unpack(self.columns)

    def program(
        self,
        patch: str | type[Kernel] | None = None,
        oracles: Sequence[str | type[Oracle]] = (),
        operations: Sequence[str] = (),
    ) -> ScenarioProgram:
        """What was run.

        Args:
            patch: in place of the recorded one, for instance a fixed version or a file that has moved.
            oracles, operations: of users' files, which look on and are known.

        Raises:
            TokenError: it was a program in Python, the library's scenario is another by now, or something of it is in a
            file that the arguments do not name: a token from somebody else runs no code of a file by itself.
            PatchError: what they name is not there.
        """
        target = self.target
        if target is None:
            raise TokenError(f"{clean(self.name)} is a program in Python: the token holds only its choices")
        unknown = sorted(set(target.rules or ()) - set(RULES))
        if unknown:
            raise TokenError(f"the token names a rule that is not there: {clean(unknown[0], 60)}")
        if patch is None and not named(target.patch):
            raise TokenError(
                f"the token is of a patch in a file, which runs only if you name it: --patch {clean(target.patch, 200)}"
            )
        _need("a rule", "--oracle", target.oracles, oracles)
        _need("an operation", "--operation", target.operations, operations)
        read_files(target.patch if patch is None else patch, oracles, operations)
        try:
            without = left_out(target.without)
        except UnknownRule as error:
            raise TokenError(f"the token leaves a rule out: {clean(str(error), 200)}") from None
        return ScenarioProgram(
            scenario=_scenario(target),
            patch=target.patch if patch is None else patch,
            arch=target.arch,
            vcpus=target.vcpus,
            seed=target.seed,
            release=target.release,
            parameters=target.parameters,
            small=target.small,
            policy=target.policy,
            rules=None if target.rules is None else frozenset(target.rules),
            until_rounds=target.until_rounds,
            oracles=tuple(oracles),
            operations=tuple(operations),
            without=without,
        )


def _need(what: str, option: str, recorded: list[str], given: Sequence[str | type[Oracle]]) -> None:
    """Every class of a user's file that was on has to be named again; the file may have moved.

    Raises:
        TokenError: one is not.
    """
    classes = {each.rpartition(":")[2] if isinstance(each, str) else each.__qualname__ for each in given}
    for name in recorded:
        if name.rpartition(":")[2] not in classes:
            raise TokenError(
                f"the token is of a run with {what} of a user's file, which is read only if you name it: "
                f"{option} {clean(name, 200)}"
            )


def log_digest(entries: Iterable[Entry]) -> bytes:
    """Digest of a log's canonical lines: equal digests, equal bytes."""
    digest = blake2b(digest_size=12)
    for lines in render_lines(entries):
        digest.update(lines)
    return digest.digest()


def encode(program: Program, tape: Tape, *, max_steps: int = 20_000) -> str:
    """The token of the run that `tape` gives on `program`. It is run once more for that, strictly.

    Raises:
        TokenError: the patch, release or lock policy has no name that another process could find it by, or the run is
            too long.
        TapeMismatch: the tape is not of this program.
    """
    if tape.steps is not None:
        max_steps = min(max_steps, tape.steps)
    recorder = Recorder()
    done = attempt(program, ReplayStrategy(tape), max_steps=max_steps, rec=recorder.rec)
    target = None
    if isinstance(program, ScenarioProgram):
        assert isinstance(done.run, ScenarioRun)
        target = _target(program, done.run)
    token = Token(
        _SCHEMA,
        program.name,
        target,
        max_steps,
        None if done.failure is None else done.failure.signature,
        done.measure.steps,
        log_digest(recorder),
        pack(tape),
    )
    values = msgspec.msgpack.encode(token)
    if len(values) > _LARGEST or max_steps > MOST_STEPS:
        raise TokenError(f"no token for so long a run: {len(tape):,} choices, a limit of {max_steps:,} steps")
    packed = zlib.compress(values, 9)
    return PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(text: str) -> Token:
    """Read a token; white space in it, as from a wrapped line, does no harm.

    Raises:
        TokenError: it is none, is cut off or damaged, or of another version.
    """
    if len(text) > LONGEST:
        raise TokenError(f"no token: more than {LONGEST:,} characters")
    text = "".join(text.split())
    if not text.startswith(PREFIX):
        raise TokenError(f"a replay token starts with {PREFIX}, this one with {text[: len(PREFIX)]!r}")
    body = text[len(PREFIX) :]
    try:
        packed = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
        unzip = zlib.decompressobj()
        values = unzip.decompress(packed, _LARGEST)
    except (binascii.Error, ValueError, zlib.error):
        raise TokenError("the token is damaged: some of its characters are missing or changed") from None
    if not unzip.eof and len(values) >= _LARGEST:
        raise TokenError(f"no token: it unpacks to more than {_LARGEST >> 20} MiB")
    if not unzip.eof or unzip.unused_data:
        raise TokenError("the token is cut off, or something follows it")
    try:
        # Straight into its type: a text of another shape is given up at the first value that does not fit.
        token = msgspec.msgpack.decode(values, type=Token)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if _version(values) not in (None, _SCHEMA):
            raise _other_version(_version(values)) from None
        raise TokenError(f"the token is damaged: {clean(str(error), 120)}") from None
    if token.schema != _SCHEMA:
        raise _other_version(token.schema)
    if not 0 < token.max_steps <= MOST_STEPS:
        raise TokenError(f"a step limit of {token.max_steps:,}; expected 1 to {MOST_STEPS:,}")
    unpack(token.columns)
    return token


def _version(values: bytes) -> int | None:
    """The first value of the list, if it is a small number."""
    short = len(values) > 1 and values[0] & 0xF0 == 0x90 and values[1] < 0x80
    return values[1] if short else None


def _other_version(found: int | None) -> TokenError:
    return TokenError(f"the token is of version {found}; this gmemsim reads version {_SCHEMA}")


def _text_digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


def _target(program: ScenarioProgram, run: ScenarioRun) -> Target:
    scenario = program.scenario
    text = scenario.source.text
    known = _from_library(scenario.source.name)
    return Target(
        scenario.source.name,
        _text_digest(text),
        "" if known is not None and known.source.text == text else text,
        patch_name(program.patch, run.session.patch),
        patch_digest(run.session.patch),
        run.session.vm_type,
        release_name(run.session.release),
        program.vcpus,
        program.seed,
        None if program.parameters is None else dict(program.parameters),
        program.small,
        policy_name(program.policy),
        None if program.rules is None else sorted(program.rules),
        program.until_rounds,
        sorted(program.without),
        oracle_names(program.oracles),
        oracle_digest(program.oracles),
        list(program.operations),
    )


def _from_library(source: str) -> Scenario | None:
    """The library's scenario that a source is called after."""
    from ..scenarios.catalogue import load_named, names

    name = source.removesuffix(".toml")
    return load_named(name) if name in names() else None


def _scenario(target: Target) -> Scenario:
    from ..scenarios.errors import ScenarioError
    from ..scenarios.scenario import loads

    try:
        found = loads(target.text, target.scenario) if target.text else _from_library(target.scenario)
    except ScenarioError as error:
        raise TokenError(f"the token's scenario is not understood: {error}") from None
    if found is None:
        raise TokenError(f"the library has no scenario {target.scenario} (any more)")
    digest = _text_digest(found.source.text)
    if digest != target.digest:
        what = "the token is damaged" if target.text else "the library's scenario is another than the token's"
        raise TokenError(
            f"{target.scenario}: {what} (digest {digest.hex()}, the token has {target.digest.hex()})"
        )
    return found
