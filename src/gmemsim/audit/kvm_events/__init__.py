"""Events of the model: what guest_memfd, KVM's MMU, the page cache and the arch hooks did.

Units: `index`, `start`, `end` are 4 KiB page indices of the file unless the event says otherwise; `gfn` is a
guest frame, `pfn` a host frame, `gpa` a guest address in bytes. Ranges are half open. `ret` is 0, a positive
count, a negative errno or, for fault handlers, the kernel's RET_PF_* value.
"""

from __future__ import annotations

from .arch_hooks import *
from .attributes import *
from .cache import *
from .fault import *
from .gmem import *
from .host import *
from .mmu import *
