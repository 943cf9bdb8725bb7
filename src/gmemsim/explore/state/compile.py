"""Compile what a search of states spends its time in: `python -m gmemsim.explore.state.compile`.

The inner loops are written in C (`_quick*.c`); the modules around them (`quick.MODULES`) are compiled by mypyc, where
mypy is installed. Nothing needs either. With both a complete search takes about half of the time (`bench/quick.py`).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import TemporaryDirectory
from typing import Final

from .coroutines import supported
from .quick import MODULES, digest_of_source, folder_of_modules, sources

#: Run in the folder of the packages. The group is one library with all modules, and a small file for each.
_SETUP: Final = """
import sys
from mypyc.build import mypycify
from setuptools import setup
package, target, *modules = sys.argv[1:]
paths = [f"{package.replace('.', '/')}/{name}.py" for name in modules]
compiled = mypycify(paths, opt_level="2", debug_level="0", target_dir=target, group_name=f"{package}.group")
places = ["--build-lib", target, "--build-temp", target]
setup(name="modules", packages=[], ext_modules=compiled, script_args=["-q", "build_ext", *places])
"""


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
    try:
        compiler = shlex.split(os.environ.get("CC") or "cc")
    except ValueError as error:
        raise OSError(f"CC: {error}") from None
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


def build_modules(target: Path | None = None) -> Path:
    """Compile the modules; the folder that they lie in.

    Args:
        target: folder to make; None: the package's.

    Raises:
        OSError: mypyc or the compiler refused, or there is nowhere to write; in one line.
    """
    where = target or folder_of_modules()
    package = __spec__.parent or ""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _SETUP, package, folder, *MODULES]
        root = Path(__file__).parents[package.count(".") + 1]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        made = Path(folder, *package.split("."))
        if done.returncode or not made.is_dir():
            lines = [line for line in (*done.stdout.splitlines(), *done.stderr.splitlines()) if line.strip()]
            raise OSError(f"mypyc failed: {lines[-1] if lines else done.returncode}")
        partly = where.with_name(f".{where.name}.{os.getpid()}")
        try:
            copytree(made, partly, ignore=lambda _, names: [name for name in names if ".so" not in name])
            for old in [where] if target else [*where.parent.glob("_modules_*")]:
                # Out of the way as a whole: nobody finds half of it.
                aside = old.with_name(f".{old.name}.old{os.getpid()}")
                with suppress(FileNotFoundError):
                    old.rename(aside)
                rmtree(aside, ignore_errors=True)
            partly.rename(where)
        finally:
            rmtree(partly, ignore_errors=True)
    return where


def main() -> int:
    if not supported():
        # States cannot be put back here, so nothing would use it.
        ours = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
        print(f"gmemsim: nothing to compile for {ours}: searches run prefixes again")
        return 0
    try:
        print(f"gmemsim: compiled {build().name}")
        if find_spec("mypyc") is None:
            print("gmemsim: mypy is not installed: the modules around it stay in Python")
        else:
            build_modules()
            print(f"gmemsim: compiled {', '.join(MODULES)} (mypyc)")
    except OSError as error:
        print(f"gmemsim: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
