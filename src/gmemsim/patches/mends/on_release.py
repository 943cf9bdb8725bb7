# mypy: disable-error-code="misc,valid-type"
"""Mends that later releases have: the version with other steps of its release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ...actors.release import RELEASES

if TYPE_CHECKING:
    from ...actors.kernel import Kernel
    from ...actors.release import Release
    from ...actors.vm import World
    from ...arch.memory import PhysicalMemory


def on_release(parent: type[Kernel], **steps: Any) -> type[Kernel]:
    """The version on whatever release it is asked for, with these fields of it changed (`actors.release`)."""

    class OnRelease(parent):
        def __init__(
            self,
            world: World,
            memory: PhysicalMemory,
            release: Release | None = None,
            *args: Any,
            **more: Any,
        ) -> None:
            base = RELEASES[self.default_release] if release is None else release
            super().__init__(world, memory, attrs.evolve(base, **steps), *args, **more)

    return OnRelease
