"""What a vector says of all orders of its branches, beyond what each step comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..units import PAGE
from .arguments import Convert, HostRead, HostWrite

if TYPE_CHECKING:
    from .results import Got
    from .rig import Rig
    from .vector import Step

#: The invariant that `TakenAway` watches, in the vectors' words.
TAKEN_AWAY: Final = "a host access that begins after a successful conversion returns gives SIGBUS"

#: A page: its inode's label and its index.
Page = tuple[str, int]


class TakenAway:
    """Pages whose conversion to private has returned, until one to shared begins."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._private: set[Page] = set()

    def begin(self, step: Step) -> frozenset[Page]:
        """Before a step: the pages that it may not have."""
        args = step.args
        if isinstance(args, Convert) and args.to == "shared":
            self._private -= self._converted(args)
        if isinstance(args, HostRead | HostWrite):
            return frozenset(self._touched(args) & self._private)
        return frozenset()

    def broken(self, step: Step, got: Got, before: frozenset[Page]) -> bool:
        """After it: whether it had one of them all the same."""
        args = step.args
        if isinstance(args, Convert) and args.to == "private" and got.result == "ok":
            self._private |= self._converted(args)
        return bool(before & self._private) and got.result != "SIGBUS"

    def _converted(self, args: Convert) -> set[Page]:
        inode = self._rig.inodes.get(args.gmem)
        if inode is None:
            return set()
        end = min((args.offset + args.len) // PAGE, inode.pages)
        return {(inode.label, index) for index in range(max(args.offset, 0) // PAGE, end)}

    def _touched(self, args: HostRead | HostWrite) -> set[Page]:
        mapping = self._rig.host_mapping(args.map)
        if mapping is None or not args.len:
            return set()
        first, last = args.offset // PAGE, (args.offset + args.len - 1) // PAGE
        return {(mapping.inode.label, mapping.start + page) for page in range(first, last + 1)}
