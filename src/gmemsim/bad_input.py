"""What everything raises that cannot use what it was given."""

from __future__ import annotations


class BadInput(Exception):
    """A file, a name or a value cannot be used. The message is one line for the user, and says what was expected.

    A command that meets one shows the message and ends with exit code 2.
    """
