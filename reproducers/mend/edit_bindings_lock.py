"""Edit guest_memfd.c of Linux 7.3: a lock of the bindings, so that the memory-failure hook needs no invalidate lock.

    python3 edit_bindings_lock.py virt/kvm/guest_memfd.c

The lock is a mutex of the inode. Whoever changes a binding or the list of files holds it inside the invalidate lock;
the hook holds it alone, below the folio lock. Populate holds it over its callback, which on TDX maps the page and looks
for no invalidation, and looks at the poison bit once more before. Places are found by the names of functions and calls,
and each must be there exactly as often as is expected, or nothing is written and the exit code is 1.
"""

import re
import sys
from pathlib import Path

#: What it edits, for build.sh.
FILE = "virt/kvm/guest_memfd.c"
LOCK = "bindings_lock"


class NotThere(Exception):
    """The file does not have what is to be edited."""


def span(text, head):
    """Start and end of the body that begins after `head`: a function or a struct, whose last line is a brace."""
    found = re.search(rf"^{head}[^;{{]*\{{", text, re.MULTILINE)
    if found is None:
        raise NotThere(head)
    return found.end(), re.compile(r"^\}", re.MULTILINE).search(text, found.end()).start()


def within(text, head, times, pattern, new):
    """Replace `pattern` in the body of `head`, where it has to be `times` times."""
    start, end = span(text, head)
    body, count = re.subn(pattern, new, text[start:end], flags=re.MULTILINE)
    if count != times:
        raise NotThere(f"{head}: {pattern} is there {count} times, not {times}")
    return text[:start] + body + text[end:]


def call(function):
    """Pattern of a line that calls `function`; its indentation and its argument are groups."""
    return rf"^(\t+){function}\(([^;]*)\);"


def lock(inode):
    """The call that takes the lock of an inode, behind the indentation of the line that it stands at."""
    return rf"\1mutex_lock(&GMEM_I({inode})->{LOCK});"


def unlock(inode):
    """The call that drops it."""
    return rf"\1mutex_unlock(&GMEM_I({inode})->{LOCK});"


def edited(text):
    """The file with the lock."""
    # It is where the list of files is: in the inode.
    text = within(
        text, "struct gmem_inode ", 1, r"^(\tstruct list_head \w+;)", rf"\1\n\tstruct mutex {LOCK};"
    )
    new = rf"\g<0>\n\1mutex_init(&gi->{LOCK});"
    text = within(text, r"static struct inode \*kvm_gmem_alloc_inode", 1, call("INIT_LIST_HEAD"), new)
    # Who changes bindings: inside the exclusive invalidate lock.
    for function, inode, unlocks in (
        ("int kvm_gmem_commit_memory_region", "inode", 2),
        ("void kvm_gmem_unbind", "file_inode(file)", 1),
    ):
        text = within(text, function, 1, call("filemap_invalidate_lock"), rf"\g<0>\n{lock(inode)}")
        text = within(text, function, unlocks, call("filemap_invalidate_unlock"), rf"{unlock(inode)}\n\g<0>")
    # Who takes a file off the list: bindings of a file that is not on it are nobody's.
    new = rf"{lock('inode')}\n\g<0>\n{unlock('inode')}"
    text = within(text, "static int kvm_gmem_release", 1, call("list_del"), new)
    # Populate: the hook may no longer count on the invalidate lock that is held here.
    text = within(
        text,
        "static long __kvm_gmem_populate",
        1,
        r"^(\t+)ret = post_populate\(([^;]*)\);",
        rf"{lock('file_inode(file)')}\n\1ret = folio_test_hwpoison(folio) ? -EHWPOISON : post_populate(\2);\n"
        + unlock("file_inode(file)"),
    )
    # The hook.
    hook = "static int kvm_gmem_error_folio"
    text = within(text, hook, 1, call("filemap_invalidate_lock_shared"), lock(r"\2->host"))
    return within(text, hook, 1, call("filemap_invalidate_unlock_shared"), unlock(r"\2->host"))


def main(edited):
    """Change the file that the command line names; `edited` gives its new text."""
    path = Path(sys.argv[1])
    try:
        text = edited(path.read_text())
    except NotThere as error:
        sys.exit(f"{path}: {error}")
    path.write_text(text)


if __name__ == "__main__":
    main(edited)
