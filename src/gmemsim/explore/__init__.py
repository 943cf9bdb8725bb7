"""Search the schedules of a program, judge what is found, make it small, report it.

Called as a function it is `gmemsim.api.explore`.
"""

from ..callable_room import make_callable

make_callable(__name__)
