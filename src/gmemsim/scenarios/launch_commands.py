"""Who gives the commands of a launch, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ScenarioError
from .ops import LaunchFinish, Populate
from .own import is_own

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..arch.base import Arch
    from .workload import Workload


def check_launches(workload: Workload, vm_type: str, known: Mapping[str, type[Arch]]) -> None:
    """Where populate maps the page it is a vCPU's ioctl (KVM_TDX_INIT_MEM_REGION), which nobody can call without one.

    Raises:
        ScenarioError: somebody does.
    """
    steps = [(step, "the setup") for step in (*workload.launch, *workload.setup)]
    steps += [(step, actor.name) for actor in workload.actors for step in actor.steps]
    for step, who in steps:
        kind = workload.tables.vms[step.vm].type or vm_type
        if isinstance(step.op, Populate) and known[kind].populate_maps and not workload.vcpus[step.vm]:
            raise ScenarioError(
                workload.tables.source.name,
                0,
                "",
                f"populate of {step.vm} by {who} needs a vCPU on VM type {kind} (KVM_TDX_INIT_MEM_REGION is its "
                'ioctl); expected a [[task]] with role = "vcpu"',
            )


def late_launches(workload: Workload) -> frozenset[str]:
    """VMs whose tasks can give a command of the launch when it is over, or an operation of a user's, which may be one.

    Not those of which one task gives all, in the order of a launch and once.
    """
    finished = workload.document.setup.finalize
    late: set[str] = set()
    givers: dict[str, str] = {}
    over = set(workload.tables.vms) if finished else set()
    for actor in workload.actors:
        for step in actor.steps:
            if is_own(step.op):
                late.add(step.vm)
            if isinstance(step.op, Populate | LaunchFinish):
                first = givers.setdefault(step.vm, actor.name)
                if first != actor.name or actor.repeat != 1 or step.vm in over:
                    late.add(step.vm)
                if isinstance(step.op, LaunchFinish):
                    over.add(step.vm)
    return frozenset(late)
