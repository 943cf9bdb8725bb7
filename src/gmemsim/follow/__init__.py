"""Follow the trace of a real kernel: is what it did a run of the model?

Called as a function it is `gmemsim.api.follow`.
"""

from ..callable_room import make_callable

make_callable(__name__)
