"""Compile `_quick*.c` beside this file: `python -m gmemsim.explore.state.compile`.

Nothing needs it. With it a complete search takes about six tenths of the time (`bench/quick.py`).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

from .coroutines import supported
from .quick import digest_of_source, sources


def build(target: Path | None = None) -> Path:
    """Compile the module; where it lies.

    Args:
        target: folder to put it into; None: the package's.

    Raises:
        OSError: no compiler, no headers of Python, nowhere to write; in one line.
    """
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").is_file():
        raise OSError(f"{headers}/Python.h: expected Python's headers (on Debian: apt install python3-dev)")
    compiler = shlex.split(os.environ.get("CC") or "cc")
    where = (target or Path(__file__).parent) / f"_quick{suffix}"
    with TemporaryDirectory() as folder:
        # Moved into its place whole: a process that has the old one loaded keeps it.
        made = Path(folder, where.name)
        defined = f'-DSOURCE="{digest_of_source()}"'
        options = ["-O2", "-shared", "-fPIC", f"-I{headers}", defined]
        files = [str(path) for path in sources() if path.suffix == ".c"]
        command = [*compiler, *options, *files, "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise OSError(
                f"{compiler[0]}: no such compiler (on Debian: apt install gcc, or set CC)"
            ) from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise OSError(f"{shlex.join(compiler)} failed: {lines[0] if lines else done.returncode}")
        partly = where.with_name(f".{where.name}.{os.getpid()}")
        try:
            partly.write_bytes(made.read_bytes())
            partly.replace(where)
        finally:
            partly.unlink(missing_ok=True)
    return where


def main() -> int:
    if not supported():
        # States cannot be put back here, so nothing would use it.
        ours = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
        print(f"gmemsim: nothing to compile for {ours}: searches run prefixes again")
        return 0
    try:
        print(f"gmemsim: compiled {build().name}")
    except OSError as error:
        print(f"gmemsim: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
