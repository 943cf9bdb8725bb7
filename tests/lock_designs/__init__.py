"""Lock designs that are right, to be searched like everything else: no oracle may find anything in them.

Beside the locks of `engine.locks`, these are small versions of what the literature and other systems have, a family a
file. They are step for step (a `Cell` or a `Watched` word an access, a semaphore an operation), since it is between
steps that a search looks. `registry.DESIGNS` is the list, `twins.TWINS` has some of them with one line wrong.
"""
