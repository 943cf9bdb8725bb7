"""Tools that the lab needs, and stock kernels from Debian's archive, unpacked and not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import attrs

from .errors import LabError
from .kernels import Kernel, cache_folder, fetched_kernels

_MIRROR: Final = "http://deb.debian.org/debian"
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
#: Newest last: a package is taken from the first that has it.
_SUITES: Final = ("trixie", "trixie-backports", "sid", "experimental")


@attrs.frozen
class Tool:
    """A program that the lab runs, and the Debian package that has it."""

    program: str
    package: str
    use: str


TOOLS: Final = (
    Tool("qemu-system-x86_64", "qemu-system-x86", "boots kernels"),
    Tool("gcc", "gcc libc6-dev", "builds the runner"),
    Tool("depmod", "kmod", "orders modules"),
)


def missing_tools() -> list[Tool]:
    """Tools that are not there."""
    return [tool for tool in TOOLS if not _is_there(tool.program)]


def _is_there(program: str) -> bool:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None or program != "gcc":
        return found is not None
    # A compiler without the static libc builds no runner; it says the bare name where it knows no place.
    libc = subprocess.run([found, "-print-file-name=libc.a"], capture_output=True, text=True, check=False)
    return "/" in libc.stdout


def need(*programs: str) -> None:
    """Raise if one of the programs is missing.

    Raises:
        LabError: with what is missing and how to get it.
    """
    missing = [tool for tool in missing_tools() if tool.program in programs]
    if missing:
        names = ", ".join(tool.program for tool in missing)
        packages = " ".join(tool.package for tool in missing)
        raise LabError(f"missing: {names}; gmemsim lab setup --install, or apt-get install {packages}")


def install(say: Callable[[str], None]) -> None:
    """Install what is missing with apt-get, which needs root; apt's lists are read anew if it fails without.

    Raises:
        LabError: it cannot, or something is missing still.
    """
    missing = missing_tools()
    if not missing:
        say("nothing is missing")
        return
    packages = sorted({package for tool in missing for package in tool.package.split()})
    command = f"apt-get install {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise LabError(
            f"missing: {', '.join(tool.program for tool in missing)}; there is no apt-get here: install them as this "
            f"system does it (in Debian: {command})"
        )
    if os.geteuid() != 0:
        raise LabError(f"missing: {' '.join(packages)}; installing needs root: sudo {command}")
    say(command)
    arguments = ["install", "--yes", "--no-install-recommends", *packages]
    try:
        _apt(arguments, ())
    except LabError as error:
        say(f"{error}; reading apt's lists and trying again")
        _apt(["update", "-qq"], ("-oAPT::Update::Error-Mode=any",))
        _apt(arguments, ())
    if still := missing_tools():
        raise LabError(f"{command} was done, and still missing: {', '.join(tool.program for tool in still)}")


def fetch(wanted: str, say: Callable[[str], None], cache: Path | None = None) -> Kernel:
    """A stock kernel by release (`7.3.4+deb13-amd64`), by the beginning of one (`7.3.4`), or by its package's name.

    Raises:
        LabError: no apt, no such package, or no network.
    """
    folder = cache or cache_folder()
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise LabError(
                f"missing: {program}; kernels are fetched from Debian's archive: give --kernel PATH instead"
            )
    there = [kernel for kernel in fetched_kernels(folder) if kernel.release.startswith(_bare(wanted))]
    if there:
        return there[0]
    settings = _archive(folder)
    say("reading the lists of Debian's archive")
    _apt(["update", "-qq"], settings)
    release = _release(_bare(wanted), settings)
    packages = _packages(release, settings)
    root = folder / "kernels" / release
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        say(f"fetching {', '.join(packages)}")
        _apt(["download", "-qq", *packages], settings, Path(scratch))
        made = Path(scratch) / "root"
        for package in sorted(Path(scratch).glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(package), str(made)])
        root.parent.mkdir(parents=True, exist_ok=True)
        # Only a whole tree gets the kernel's name.
        made.rename(root)
    found = [kernel for kernel in fetched_kernels(folder) if kernel.vmlinuz.is_relative_to(root)]
    if not found:
        raise LabError(f"{', '.join(packages)}: no vmlinuz in it")
    return found[0]


def _bare(wanted: str) -> str:
    for prefix in ("linux-image-", "linux-binary-", "linux-modules-"):
        wanted = wanted.removeprefix(prefix)
    return wanted


def _archive(folder: Path) -> tuple[str, ...]:
    """An apt of our own: the machine's lists and sources stay as they are."""
    apt = folder / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={_KEYRING}] " if Path(_KEYRING).is_file() else ""
    sources = apt / "sources.list"
    sources.write_text(
        "".join(f"deb {signed}{_MIRROR} {suite} main\n" for suite in _SUITES), encoding="utf-8"
    )
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }
    return tuple(f"-o{name}={value}" for name, value in options.items())


def _release(wanted: str, settings: Sequence[str]) -> str:
    names = _run(["apt-cache", *settings, "pkgnames", "linux-"]).split()
    releases = {_bare(name) for name in names if name.startswith(("linux-image-", "linux-binary-"))}
    fitting = sorted(
        release
        for release in releases
        if release.startswith(wanted) and release.endswith("-amd64") and release[0].isdigit()
    )
    plain = [release for release in fitting if not any(word in release for word in ("-cloud", "-rt", "-dbg"))]
    exact = [release for release in plain if release == wanted or release.startswith(f"{wanted}+")]
    found = exact or plain
    if not found:
        raise LabError(f"no kernel {wanted} in {', '.join(_SUITES)} of {_MIRROR}")
    return found[-1]


def _packages(release: str, settings: Sequence[str]) -> list[str]:
    """Since 7.1 Debian has image and modules in packages of their own."""
    names = set(_run(["apt-cache", *settings, "pkgnames", "linux-"]).split())
    if f"linux-modules-{release}" in names:
        return [f"linux-binary-{release}", f"linux-modules-{release}"]
    return [f"linux-image-{release}"]


def _apt(arguments: list[str], settings: Sequence[str], folder: Path | None = None) -> None:
    _run(["apt-get", *settings, *arguments], folder)


def _run(command: list[str], folder: Path | None = None) -> str:
    """Output of a program.

    Raises:
        LabError: it failed; the line that says why.
    """
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        # A question of a package's would be asked of nobody.
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it failed"]
        # apt says the cause first and what follows from it last.
        raise LabError(f"{command[0]}: {next((line for line in lines if line.startswith('E:')), lines[-1])}")
    return done.stdout
