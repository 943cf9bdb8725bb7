"""Running a session from the command line: log file, engine errors as violations, blame for user patches."""

from __future__ import annotations

import traceback
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from ..audit.header import Header
from ..audit.recorder import Recorder
from ..audit.render import LogWriter
from ..bad_input import BadInput
from ..engine.blame import blame, model_code, said, users_own
from ..engine.errors import EngineError
from ..engine.unawaited import NeverAwaited, all_awaited
from ..patches.registry import named
from .errors import InputError
from .output_files import check_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..audit.recorder import Entry
    from ..engine.blame import Blame
    from ..scenarios.session import Session


class Log:
    """An audit log that starts with the setup, although its header is known only after it.

    Use `rec` for the session, then `with log.of(session)` around its run.
    """

    def __init__(self, path: Path) -> None:
        from ..audit.logfile import is_compressed

        self.path = path
        is_compressed(path)  # refuses a bad name before anything is run
        check_directory(path)
        self._writer: LogWriter | None = None
        self._early: list[Entry] = []
        self._recorder = Recorder(self._sink)
        self.rec = self._recorder.rec

    def _sink(self, entries: list[Entry]) -> None:
        if self._writer is None:
            self._early += entries
        else:
            self._writer.write(entries)

    @contextmanager
    def of(self, session: Session) -> Iterator[None]:
        """The file appears when the block is left without an exception."""
        self._recorder.flush()
        with LogWriter(self.path, header_of(session)) as writer:
            self._writer = writer
            writer.write(self._early)
            yield
            self._recorder.flush()


def header_of(session: Session) -> Header:
    """What the log says about its run."""
    more: dict[str, Any] = {f"parameter.{name}": value for name, value in session.workload.parameters.items()}
    more["release"] = session.release.name
    more["version"] = __version__
    return Header(session.workload.head.name, session.patch.name, session.vm_type, session.seed, more)


@contextmanager
def patches_told(patches: Iterable[str], runs: str) -> Iterator[None]:
    """Around runs of patches: what never ran of a user's one, and which errnos are its own, is said on stderr.

    Args:
        runs: in what (`these runs`).

    Raises:
        PatchError: as `Entered.refuse_state`.
    """
    from ..patches.entered import Entered, never_ran, watch_overrides
    from ..patches.registry import load_patch

    entered: dict[str, Entered] = {}
    with ExitStack() as stack:
        for patch in dict.fromkeys(patches):
            if not named(patch):
                entered[patch] = stack.enter_context(watch_overrides(load_patch(patch)))
        yield
    for patch, each in entered.items():
        each.refuse_state()
        lines = [never_ran(each.never, runs)] if each.never else []
        for line in (*lines, *sorted(each.errnos)):
            click.echo(f"{patch}: {line}", err=True)


@contextmanager
def user_error(*patches: str) -> Iterator[None]:
    """Whatever comes from a user's own patch, an exit included, is one line that names file and line.

    Args:
        patches: those that the block runs without a session, which would see to coroutines that nobody awaits.
    """
    try:
        with ExitStack() as stack:
            stack.enter_context(model_code())
            if not all(map(named, patches)):
                stack.enter_context(all_awaited(kept=True))
            yield
    except (EngineError, BadInput, click.ClickException, click.exceptions.Exit) as error:
        # A patch that raises one of ours (`click.exceptions.Exit(0)`) has failed, and its exit code is no answer.
        found = blame(error) if users_own(error) else None
        if found is None:
            raise
        raise InputError(with_place(error, found)) from error
    except NeverAwaited as error:
        raise InputError(str(error)) from error
    except Exception as error:
        found = blame(error)
        own = [patch for patch in patches if not named(patch)]
        if found is None and own:
            # A result of the wrong type, for instance: it shows in the function that got it.
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise InputError(f"{own[0]}: what it gave to {place.name} does not fit: {said(error)}") from error
        if found is None:
            raise
        raise InputError(with_place(error, found)) from error


def with_place(error: BaseException, found: Blame) -> str:
    text = said(error)
    return text if str(found) in text else f"{found.path}:{found.line}: {text} (in {found.function})"
