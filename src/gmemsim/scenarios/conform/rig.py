"""The session that a vector's steps run in, and the vector's names for what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...arch.costs import CostTable
from ...engine.strategy import FirstRunnable
from ...patches.inplace import Inplace, without_conversion
from ...patches.inplace_content import InplaceContent
from ..model import Document, Head, SetupTable, VmTable
from ..options import Options
from ..session import Session
from ..source import Source
from ..steps import Step
from ..tables import VMM, File, Map, Tables
from ..thread import Thread
from ..workload import Actor, Workload
from .branches import Branches
from .counts import EventCounts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors.folio import Folio
    from ...actors.inode import GmemInode, HostMapping
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm, World
    from ...engine.strategy import Strategy
    from ...engine.task import Task
    from ..ops import Op
    from ..results import Outcome
    from ..tables import Slot
    from .case import Case
    from .results import Got

#: Bytes of a call that goes from page to page, and of one that goes by entries of maps.
WALKED: Final = 1 << 30
MAPPED: Final = 1 << 37


class Unsupported(Exception):
    """The vector asks for something that the model or the runner does not have."""


class Rig:
    """A session without tasks of its own, and what the steps of one run have made so far.

    Attributes:
        files, inodes: what the vector calls its files, and what is or was behind each name.
        maps: host mappings, also those that are gone; any other name is an ordinary buffer.
        pending: the access that each vCPU left with an exit, to be completed by `resume`.
        counts: audit events of the measured part that `event_count` asks for.
        noted: values that a step saved for a later one.
        poisoned: pages that hardware errors were injected into.
    """

    def __init__(
        self,
        case: Case,
        strategy: Strategy | None,
        rec: Callable[[Task, Any], None] | None,
        max_steps: int,
    ) -> None:
        self.setup = setup = case.vector.setup
        cls = case.patch
        if setup.variant is not None and issubclass(cls, Inplace):
            # The interface of an RFC: a variant of the version that came of it.
            cls = type(cls.__name__, (InplaceContent, cls), {}) if cls is not Inplace else InplaceContent
        if setup.module_params.gmem_in_place_conversion is False:
            cls = without_conversion(cls)
        if setup.variant is not None and not issubclass(cls, InplaceContent):
            raise Unsupported(f"variant {setup.variant!r} on {cls.name}")
        if any(gmem.huge_page_size for gmem in setup.gmems) and not cls.huge_pages:
            raise Unsupported("huge pages")
        for gmem in setup.gmems:
            if gmem.vm not in setup.vms:
                raise Unsupported(f"setup: file {gmem.id}: no VM {gmem.vm!r}")
        options = Options(
            strategy=strategy or FirstRunnable(),
            rec=rec,
            count=False,
            keep_results=False,
            max_steps=max_steps,
        )
        costs = CostTable.default()
        self.session = Session(_workload(case), cls, case.vm_type, case.release, 0, costs, options)
        self.machine = self.session.machine
        self.kernel: Kernel = self.machine.kernel
        self.files: dict[str, File] = {}
        self.inodes: dict[str, GmemInode] = {}
        self.maps: dict[str, Map] = {}
        self.pending: dict[str, Callable[[], Awaitable[Got]]] = {}
        self.counts = EventCounts(self.world)
        self.noted: dict[str, Any] = {}
        self.others = Branches()
        self.poisoned: list[tuple[GmemInode, Folio]] = []
        self._threads: dict[tuple[str, str], Thread] = {}

    @property
    def world(self) -> World:
        return self.machine.world

    async def do(
        self,
        t: Task,
        actor: str,
        op: Op,
        lo: int = 0,
        hi: int = 0,
        *,
        file: str | File | None = None,
        mapping: Map | None = None,
        slot: Slot | None = None,
    ) -> Outcome:
        """Carry out an operation of scenarios, as they do: on pages [lo, hi), or on the bytes that it names.

        Raises:
            Unsupported: the vector never made the file.
        """
        thread = self._thread(t, actor)
        row = self.file(file) if isinstance(file, str) else file
        return await thread.step(
            t, Step(op, t.call + 1, lo, hi, slot, row, mapping, thread.actor.vm, None, ())
        )

    def _thread(self, t: Task, actor: str) -> Thread:
        """The actor in that task."""
        found = self._threads.get((t.name, actor))
        if found is None:
            name, _, vm = actor.partition("@")
            vcpu = int(name.removeprefix("vcpu")) if name.startswith("vcpu") else -1
            vm = vm or next(iter(self.world.vms))
            row = Actor(actor, vm, vcpu, 0, 1, 1, False, False, None, None, (), (), name, self.process(actor))
            found = self._threads[t.name, actor] = Thread(self.session, row)
        return found

    @staticmethod
    def bounded(length: int, most: int = WALKED) -> None:
        """What takes a step a page, or an entry, takes hours for all of memory.

        Raises:
            Unsupported: more than `most` bytes.
        """
        if length > most:
            raise Unsupported(f"a call on more than {most >> 30} GiB")

    def vm(self, actor: str) -> Vm:
        """The VM on whose behalf the actor acts."""
        return self.world.vms[actor.partition("@")[2] or next(iter(self.world.vms))]

    def process(self, actor: str) -> str:
        """All host threads are the VMM's; `child` is a process of its own once there is one."""
        return actor if actor in self.machine.children else VMM

    def file(self, name: str) -> File:
        """What the vector calls so, open or not.

        Raises:
            Unsupported: it never made it.
        """
        if name not in self.files:
            raise Unsupported(f"no file {name!r}")
        return self.files[name]

    def host_mapping(self, name: str) -> HostMapping | None:
        """The VMM's mapping of that name, if it is there."""
        return self.world.mappings.get(name) if name in self.maps else None

    def only_inode(self) -> GmemInode | None:
        """The file, if there is one only."""
        return next(iter(self.inodes.values())) if len(self.inodes) == 1 else None


def _workload(case: Case) -> Workload:
    """The VMs of a vector: its guests accept pages when they meet them, which takes the #VE on TDX."""
    setup = case.vector.setup
    vms = {
        label: VmTable(
            id=label,
            on_memory_fault="stop",
            accept="on_exception",
            launch_started=setup.launch_started,
            vcpus_initialized=setup.vcpu_initialized,
            choices={"sept_ve_disable": False},
        )
        for label in setup.vms
    }
    document = Document(
        scenario=Head(name="vector", summary=case.vector.id),
        setup=SetupTable(finalize=False, numa_nodes=setup.numa_nodes),
    )
    vcpus = {label: setup.vcpus if number == 0 else 0 for number, label in enumerate(vms)}
    return Workload(
        document, Tables(Source(case.vector.id, ""), vms, {}, {}, {}), {}, (), vcpus, (), (), {}, {}
    )
