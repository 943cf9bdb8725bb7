"""The errno values that the modelled paths return, negative as in the kernel, and their names."""

from __future__ import annotations

from errno import errorcode
from typing import Final

__all__ = [
    "E2BIG", "EAGAIN", "EBADF", "EBUSY", "EEXIST", "EFAULT", "EFBIG", "EHWPOISON", "EINTR", "EINVAL", "EIO", "EMFILE",
    "ENODEV", "ENOENT", "ENOMEM", "ENOSPC", "ENOTTY", "EOPNOTSUPP", "EOVERFLOW", "EPERM", "ERRNOS", "ESPIPE",
    "errno_name",
]  # fmt: skip

EPERM: Final = -1
ENOENT: Final = -2
EINTR: Final = -4
EIO: Final = -5
E2BIG: Final = -7
EBADF: Final = -9
EAGAIN: Final = -11
ENOMEM: Final = -12
EFAULT: Final = -14
EBUSY: Final = -16
EEXIST: Final = -17
ENODEV: Final = -19
EINVAL: Final = -22
EMFILE: Final = -24
ENOTTY: Final = -25
EFBIG: Final = -27
ENOSPC: Final = -28
ESPIPE: Final = -29
EOVERFLOW: Final = -75
EOPNOTSUPP: Final = -95
EHWPOISON: Final = -133

_NAMES = {value: name for name, value in globals().items() if name.startswith("E") and isinstance(value, int)}


#: Each errno of Linux as a kernel function returns it, by its name here. Python's own table has no EHWPOISON, and
#: calls EDEADLK otherwise.
ERRNOS: Final = {-number: name for number, name in errorcode.items()} | {-35: "EDEADLK"} | _NAMES


def errno_name(value: int) -> str:
    """`-17` is `EEXIST`; anything that is no errno is its number."""
    return ERRNOS.get(value, str(value))
