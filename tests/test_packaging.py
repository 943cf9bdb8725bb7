"""What is built is what is in the tree, and an installed wheel stands on its own."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

import gmemsim

ROOT = Path(__file__).resolve().parent.parent
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "*.so", "*~")

# The builds are shared by the tests below, so under xdist they stay on one worker.
pytestmark = pytest.mark.xdist_group("packaging")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, outdir: Path, *kinds: str) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", *kinds, "--outdir", outdir, source)


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def tree_files(package: Path) -> set[str]:
    return {path.relative_to(package.parent).as_posix() for path in package.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, so that no earlier build's leftovers and no edit under way can get in."""
    copy = tmp_path_factory.mktemp("source") / "gmemsim"
    copy.mkdir()
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=NOT_SOURCE)
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "Makefile"):
        shutil.copy(ROOT / name, copy)
    for name in ("requirements.lock", "requirements-core.lock"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def built(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, each built straight from the tree."""
    dist = tmp_path_factory.mktemp("dist")
    build(tree, dist, "--wheel", "--sdist")
    return dist


@pytest.fixture(scope="module")
def sdist_tree(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    # In a process of its own: 3.11.2 has no extraction filters, and 3.12 warns where none is named.
    run(sys.executable, "-m", "tarfile", "-e", one(built, "*.tar.gz"), folder)
    return one(folder, "gmemsim-*")


def test_wheel_holds_the_whole_package_and_nothing_else(tree: Path, built: Path) -> None:
    files = wheel_files(one(built, "*.whl"))
    assert {name for name in files if ".dist-info/" not in name} == tree_files(tree / "src" / "gmemsim")


def test_every_folder_with_modules_is_a_package(tree: Path) -> None:
    folders = {path.parent for path in (tree / "src" / "gmemsim").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_sdist_holds_the_package_its_tests_and_what_runs_them(tree: Path, sdist_tree: Path) -> None:
    assert tree_files(sdist_tree / "src" / "gmemsim") == tree_files(tree / "src" / "gmemsim")
    assert tree_files(sdist_tree / "tests") == tree_files(tree / "tests")
    for name in (
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "requirements.lock",
        "requirements-core.lock",
    ):
        assert (sdist_tree / name).is_file(), name


def test_wheel_built_from_the_sdist_is_the_same(built: Path, sdist_tree: Path, tmp_path: Path) -> None:
    build(sdist_tree, tmp_path, "--wheel")
    assert wheel_files(one(tmp_path, "*.whl")) == wheel_files(one(built, "*.whl"))


def test_installed_wheel_imports_from_where_it_was_installed(built: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    bin_folder = venv / ("Scripts" if sys.platform == "win32" else "bin")
    python = bin_folder / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    run(*pip, "install", "--no-deps", "--no-index", one(built, "*.whl"))

    # Dependencies come from this environment, behind the wheel. A .pth line adds a folder to sys.path without
    # reading the .pth files inside it, so the editable install of this tree stays out of sight.
    site = Path(run(python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")

    # The dependencies are in reach, so the package's own file says which gmemsim this is.
    probe = (
        "import importlib.metadata, json, gmemsim, trio;"
        "print(json.dumps([gmemsim.__file__, importlib.metadata.version('gmemsim'), gmemsim.__version__]))"
    )
    file, metadata_version, version = json.loads(run(python, "-I", "-c", probe))
    assert Path(file) == site / "gmemsim" / "__init__.py"
    assert metadata_version == version
    assert list(bin_folder.glob("gmemsim*")), "no console script"


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert gmemsim.__version__ == project["version"]


@pytest.mark.skipif((ROOT / "PKG-INFO").exists(), reason="an sdist carries no links")
@pytest.mark.parametrize("room", ["actors", "arch"])
def test_links_at_the_top_lead_into_the_package(room: str) -> None:
    link = ROOT / room
    assert link.is_symlink()
    assert link.readlink() == Path("src/gmemsim") / room
    assert link.is_dir()


def test_lock_file_pins_with_hashes_and_names_no_index() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [line.split("==")[0] for line in lines if line[:1].isalpha()]
    assert {"trio", "pytest", "setuptools", "build"} <= set(pinned)
    assert [line for line in lines if line[:1].isalpha() and "==" not in line] == []
    assert [line for line in lines if "://" in line or line.startswith("-")] == []


def test_the_version_is_said_once_and_repeated_truly() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^## \[?{re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
