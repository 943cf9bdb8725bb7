"""Pages of the site that are made while it is built, so that none can be out of date (a hook of MkDocs)."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from gmemsim.arch.costs import ARCH_COSTS, CostTable
from gmemsim.arch.platform_costs import PlatformCosts
from gmemsim.cli.group import cli
from gmemsim.cli.listing import KINDS
from gmemsim.cli.manual import entries, markdown
from gmemsim.oracles.effects import EFFECTS
from gmemsim.oracles.every_rule import EVERY_RULE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import File, Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

#: Pages at the top of the repository, and what they are called on the site.
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}


def commands() -> str:
    text = markdown(list(entries(cli)))
    return (
        f"# Commands\n\nMade from the commands; `gmemsim man` is the same as a man page, `gmemsim completion` "
        f"completes names in a shell ([how](../shell.md)).\n\n{text}"
    )


def rules() -> str:
    lines = [
        "# Rules",
        "",
        "What a report means by I33: `gmemsim explain I33` says it, too. *Harm* is what must not",
    ]
    lines += [
        "happen; a *choice* restates which lock or order a version has chosen: a search that meets one goes on."
    ]
    for rule in EVERY_RULE.values():
        lines += [
            "",
            f"## {rule.ident}",
            "",
            f"{rule.says}.",
            "",
            f"*Kind*: {rule.kind}. *Source*: {rule.source}.",
        ]
        if rule.ident in EFFECTS:
            lines += ["", f"*If it is broken*: {EFFECTS[rule.ident]}."]
    return "\n".join(lines)


def table(kind: str) -> str:
    """What `gmemsim list KIND` shows."""
    rows = list(KINDS[kind][1]())
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    lines += [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def versions() -> str:
    return f"""# Versions

Names for `--patch`. A version with a change of the review or a seeded bug is VERSION+NAME. A patch of your own is
path/to/file.py:Class ([tutorial](../tutorial.md)). `gmemsim show NAME` has the functions in which one differs.

{table("patches")}

## Changes that were proposed

{table("changes")}

## VM types

{table("arches")}

## Lock policies

{table("locks")}

## Search strategies

{table("strategies")}
"""


def python() -> str:
    """From the docstrings."""
    return """# Python API

[How to use it](../api.md). From the docstrings of the code.

## gmemsim

::: gmemsim.api

## gmemsim.testing

::: gmemsim.testing.checking

::: gmemsim.testing.machine

## gmemsim.extend

[How to use it](../extend.md).

::: gmemsim.extend
"""


def costs() -> str:
    lines = [
        "# Cost model",
        "",
        "Virtual time is the sum of these, in ns, and of waiting. They order versions and",
    ]
    lines += [
        "give ratios and scaling; they are not the speed of a machine. A: published measurement; B: derived from"
    ]
    lines += [
        "a published end-to-end figure; C: a local measurement; E: an engineering estimate. `gmemsim bench"
    ]
    lines += ["contention --help` says how to ask how much an answer hangs on the uncertain ones."]
    lines += ["", "| step | ns | range | trust | source |", "|---|--:|--:|---|---|"]
    for field in attrs.fields(PlatformCosts):
        evidence = field.metadata.get("evidence")
        if evidence is not None:
            lines.append(
                f"| {field.name} | {field.default:,} | {evidence.low:,} to {evidence.high:,} "
                f"| {evidence.confidence} | {_cell(evidence.source)} |"
            )
    full = [name for name in PlatformCosts.names() if name not in CostTable.names()]
    names = ", ".join(f"`{name}`" for name in ARCH_COSTS)
    return "\n".join(
        [
            *lines,
            "",
            f"VM types with figures of their own: {names}. Only [full tables](../costs.md) charge "
            f"{', '.join(f'`{name}`' for name in full)}.",
        ]
    )


def failure() -> str:
    """The report on the first deadlock, as the command writes it."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "failure.html"
        command = [
            sys.executable,
            "-m",
            "gmemsim",
            "explore",
            "examples/poison_punch.toml",
            "--patch",
            "v3",
            "--html",
        ]
        done = subprocess.run([*command, page], capture_output=True, text=True, check=False, cwd=ROOT)
        if done.returncode != 1:
            raise SystemExit(f"no failure to show: {done.stderr}")
        return page.read_text()


_FETCHED = re.compile(r'<script src="https://unpkg[^"]*"></script>')

PAGES: dict[str, Callable[[], str]] = {
    **{page: (ROOT / name).read_text for name, page in TOP.items()},
    "reference/commands.md": commands,
    "reference/rules.md": rules,
    "reference/versions.md": versions,
    "reference/python.md": python,
    "reference/costs.md": costs,
    "samples/failure.html": failure,
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A folder that is named by its README has its pages below it."""
    config.nav = [_unfolded(entry) for entry in config.nav or ()]
    return config


def _unfolded(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_unfolded(each) for each in entry]
    if not isinstance(entry, dict):
        return entry
    ((title, inner),) = entry.items()
    if isinstance(inner, str) and inner.endswith("/README.md"):
        folder = Path(inner).parent
        pages = sorted(
            path.name for path in (ROOT / "docs" / folder).glob("*.md") if path.name != "README.md"
        )
        return {title: [inner, *(f"{folder}/{page}" for page in pages)]}
    return {title: _unfolded(inner)}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page that is named is a link; what is in the repository and not on the site is no link."""
    here = page.file

    def named(match: re.Match[str]) -> str:
        target = _on_site(match[1].rstrip("/"), files)
        return match[0] if target is None or target is here else f"[{match[0]}]({_from(here, target)})"

    def linked(match: re.Match[str]) -> str:
        path, hash_, anchor = match[2].partition("#")
        if here.src_uri in TOP.values():
            # These stand at the top of the repository.
            target = files.get_file_from_path(TOP[path]) if path in TOP else _on_site(path, files)
            if target is not None:
                return f"[{match[1]}]({_from(here, target)}{hash_}{anchor})"
            return match[1] if (ROOT / path).exists() else match[0]
        outside = (ROOT / "docs" / here.src_uri).parent / path
        return match[1] if path.startswith("../") and outside.exists() else match[0]

    # Not what is inside a link already, and not in blocks of code.
    parts = re.split(r"(^```.*?^```|^    .*?$)", markdown, flags=re.MULTILINE | re.DOTALL)
    for number in range(0, len(parts), 2):
        text = re.sub(r"(?<!\[)\[([^\]]+)\]\(([^)\s:]+)\)", linked, parts[number])
        parts[number] = re.sub(r"(?<!\[)`(docs/[A-Za-z0-9_/.-]+)`(?!\])", named, text)
    # Two remarks in brackets side by side are no reference; in a list they may be indented.
    return "".join(part if part.startswith("```") else re.sub(r"\]( ?)\[", r"]\1\\[", part) for part in parts)


def _on_site(path: str, files: Files) -> File | None:
    if not path.startswith("docs/"):
        return None
    name = path.removeprefix("docs/")
    found = files.get_file_from_path(name) or files.get_file_from_path(f"{name}/README.md")
    return found if found is not None and found.inclusion.is_included() else None


def _from(here: File, target: File) -> str:
    return "../" * here.src_uri.count("/") + target.src_uri


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The theme would fetch what search in a file needs; the site has its own."""
    return _FETCHED.sub(f'<script src="{"../" * page.file.url.count("/")}search_worker.js"></script>', output)


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """Of the page for what is not there."""
    return _FETCHED.sub("", output_content)


def on_post_build(config: MkDocsConfig) -> None:
    """Nothing is fetched by who reads it."""
    fetching = re.compile(
        r"<(?:script|img|iframe|link)[^>]* (?:src|href)=\"https?://(?![^>]*rel=\"canonical)"
    )
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        if found := fetching.search(page.read_text(encoding="utf-8")):
            raise SystemExit(f"{page}: fetches {found[0]}")
