"""The initial state of a run, brought about by the model's own calls at time 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors.errno import errno_name
from ..engine import bare
from ..engine.engine import Engine
from ..engine.errors import EngineError
from .inplace import convert_files
from .thread import Thread
from .workload import Actor

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.task import Task
    from .session import Session
    from .steps import Step
    from .tables import File, Map, Slot

#: Name of the task that does it: its events come before those of the measured part.
SETUP = "setup"


def bring_about(session: Session, rec: Callable[[Task, Any], None] | None) -> None:
    """Create, bind and map what the workload declares, then run its setup operations.

    Raises:
        ScenarioError: the modelled kernel refuses something, for this VM type or release.
    """
    # Exploring, so that time stands still; with a single task there is nothing to explore.
    engine = Engine(exploring=True, rec=rec, max_steps=1 << 24)
    engine.spawn(SETUP, _setup, session)
    try:
        bare.run(engine)
    except EngineError as error:
        source = session.workload.tables.source
        raise source.error(("setup",), f"the setup cannot be run: {error}") from error


async def _setup(t: Task, session: Session) -> None:
    machine = session.machine
    workload = session.workload
    tables = workload.tables
    for file in tables.files.values():
        if not file.absent:
            _must(session, file, "KVM_CREATE_GUEST_MEMFD", await machine.create(t, file))
    for slot in tables.slots.values():
        if not slot.absent:
            _must(session, slot, "KVM_SET_USER_MEMORY_REGION2", await machine.bind(t, slot))
    for mapping in tables.maps.values():
        owners = [actor.name for actor in workload.actors if actor.table == mapping.each]
        for owner in [""] if mapping.each is None else owners:
            if not mapping.absent:
                _must(session, mapping, "mmap", await machine.mmap(t, mapping, owner))
    setup = workload.document.setup
    if setup.private == "auto":
        _make_private(session)
    elif machine.kernel.in_place:
        await _make_shared(t, session)
    await _steps(t, session, "launch", workload.launch)
    for vm in machine.world.vms.values():
        if setup.finalize and not vm.finalized:
            ret = await machine.kernel.launch_finish(t, vm)
            if ret:
                message = f"finalizing {vm.label} returned {ret} ({_where(session)})"
                raise tables.source.error(("setup", "finalize"), message)
    await _steps(t, session, "ops", workload.setup)


def _where(session: Session) -> str:
    return f"VM type {session.vm_type}, release {session.release.name}"


def _must(session: Session, thing: File | Slot | Map, call: str, outcome: str) -> None:
    if outcome != "ok":
        kind = type(thing).__name__.lower()
        message = f"{kind} {thing.id}: {call} returned {outcome} ({_where(session)})"
        raise session.workload.tables.source.error(thing.path, message)


def _make_private(session: Session) -> None:
    """Memory of guest_memfd slots is private from the start, unless the file starts shared."""
    machine = session.machine
    tables = session.workload.tables
    for slot in tables.slots.values():
        vm = machine.vm(slot.vm)
        if slot.file is None or not vm.arch.has_private_memory:
            continue
        if "INIT_SHARED" not in machine.flags(tables.files[slot.file]):
            vm.attributes.update(range(slot.gfn, slot.gfn + slot.pages))


async def _make_shared(t: Task, session: Session) -> None:
    """Where the file says what is private, its memory starts so unless it has INIT_SHARED: the VMM shares it."""
    machine = session.machine
    for slot in session.workload.tables.slots.values():
        vm = machine.vm(slot.vm)
        if slot.absent or slot.file is None or not vm.arch.has_private_memory:
            continue
        ret = await convert_files(machine.kernel, t, vm, slot.gfn, slot.gfn + slot.pages, False)
        _must(session, slot, "KVM_SET_MEMORY_ATTRIBUTES2", errno_name(ret) if ret else "ok")


async def _steps(t: Task, session: Session, key: str, steps: tuple[Step, ...]) -> None:
    for position, step in enumerate(steps):
        thread = Thread(session, Actor.for_setup(step.vm, session.workload.vcpus[step.vm] > 0))
        await thread.step(t, step)
        if not step.expect:
            (counts,) = thread.results.outcomes.values()
            bad = [outcome for outcome in counts if outcome != "ok"]
            if bad:
                message = f"{step.op.name} came to {bad[0]} ({_where(session)})"
                raise session.workload.tables.source.error(("setup", key, position), message)
