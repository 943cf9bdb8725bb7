"""docs/scenarios.md: its examples run, and it leaves no key and no operation out."""

import re
from pathlib import Path

import msgspec
import pytest

from gmemsim.arch.registry import ARCHES
from gmemsim.scenarios import model
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.ops import ALIASES, OPS
from gmemsim.scenarios.scenario import loads
from gmemsim.scenarios.session import build
from gmemsim.scenarios.workload import FAULT_POINTS

DOC = (Path(__file__).resolve().parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"`\"?([\w.]+)\"?`", DOC))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_examples_run(text: str) -> None:
    scenario = loads(text, "docs/scenarios.md")
    for kind in scenario.head.vm_types:
        for patch in ("baseline", "v3"):
            session = build(scenario, patch, kind, small=bool(scenario.small)).run()
            assert session.summary().violations == (), (kind, patch)


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = blocks("python")
    exec(compile(text, "docs/scenarios.md", "exec"), {})
    assert "touch" in capsys.readouterr().out


def test_the_error_is_what_the_example_gives() -> None:
    spoilt = blocks("toml")[0].replace('write = "{task}"', "conut = 1", 1)
    (expected,) = [text for text in blocks("text") if "conut" in text]
    with pytest.raises(ScenarioError) as caught:
        loads(spoilt, "my.toml")
    assert str(caught.value) == expected.strip()


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_operation_and_its_keys_are_documented(name: str) -> None:
    assert name in WORDS
    assert set(OPS[name].__struct_fields__) - {"unmapped"} <= WORDS
    assert "unmapped" in WORDS


@pytest.mark.parametrize(
    "table",
    [
        model.Head,
        model.VmTable,
        model.FileTable,
        model.SlotTable,
        model.MapTable,
        model.SetupTable,
        model.TaskTable,
    ],
)
def test_every_key_of_every_table_is_documented(table: type[msgspec.Struct]) -> None:
    assert set(table.__struct_fields__) <= WORDS
    assert f"[[{table.__name__.removesuffix('Table').lower()}]]" in DOC or "[scenario]" in DOC


def test_fault_points_aliases_and_vm_types_are_documented() -> None:
    assert set(FAULT_POINTS) <= WORDS
    assert set(ALIASES) <= WORDS
    assert set(ARCHES) <= set(re.findall(r"`([\w-]+)`", DOC))


def test_every_fault_point_of_the_model_can_be_named() -> None:
    source = Path(model.__file__).resolve().parents[1]
    found: set[str] = set()
    for path in source.rglob("*.py"):
        for call in re.findall(r"\.fault\(([^()]*)\)", path.read_text(encoding="utf-8")):
            found |= set(re.findall(r"\"(\w+)\"", call))
    assert found == set(FAULT_POINTS)
