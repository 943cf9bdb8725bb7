"""Whatever is wrong with a scenario: one line that names file, line, field and what was expected."""

from pathlib import Path
from typing import Any

import pytest

from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.program import ScenarioProgram
from gmemsim.scenarios.catalogue import find, load_named
from gmemsim.scenarios.errors import ScenarioError
from gmemsim.scenarios.scenario import Scenario, load, loads
from gmemsim.scenarios.session import build

GOOD = """\
[scenario]
name = "x"
summary = "s"

[parameters]
pages = 4

[[file]]
id = "g"
pages = "$pages"

[[slot]]
file = "g"

[[map]]
id = "m"

[[task]]
role = "vcpu"
ops = [
    { op = "touch", count = 2 },
    { op = "prefault" },
]

[[task]]
name = "host"
ops = [{ op = "punch", start = 1, count = 2 }]
"""


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


CASES = [
    # text, line, field, part of the message
    (GOOD + "[faults]\nalloc_folio = -1\n", 29, "faults.alloc_folio", ">= 0"),
    (GOOD + "[faults]\nalloc_foliO = 1\n", 29, "faults.alloc_foliO", "expected one of: alloc_attributes"),
    (GOOD + "[small]\npagse = 1\n", 29, "small.pagse", "no such parameter"),
    (GOOD + "[small]\npages = '1'\n", 29, "small.pages", "expected int"),
    (GOOD + "[extra]\nx = 1\n", 28, "extra", "unknown key"),
    (changed("[[file]]", "[[fiel]]"), 8, "fiel", "did you mean file?"),
    (changed("[[file]]", "[file]"), 8, "file", "[[file]]"),
    (changed('name = "x"', 'name = "a b"'), 2, "scenario.name", "matching"),
    (changed('name = "x"\n', ""), 1, "scenario", "the key name is missing"),
    (changed('summary = "s"', "summary = 3"), 3, "scenario.summary", "expected str, got int"),
    (
        changed('summary = "s"', 'summary = "s"\nvm_types = ["sev"]'),
        4,
        "scenario.vm_types[0]",
        "sw-protected",
    ),
    (
        changed('role = "vcpu"', 'role = "vcpu"\ninstances = 5').replace("count = 2 }", "slice = true }", 1),
        22,
        "task[0].ops[0].slice",
        "expected at most 4 instances, a page for each; got 5",
    ),
    (changed('file = "g"', 'file = "g"\nuserspace = "m"'), 14, "slot[0].userspace", "'m' is a [[map]]"),
    (
        changed('{ op = "punch", start = 1, count = 2 }', '{ op = "host_read", buffer = "m" }'),
        27,
        "task[1].ops[0].buffer",
        "'m' is a [[map]]; expected map = 'm'",
    ),
    (changed("pages = 4", "pages = [4]"), 6, "parameters.pages", "expected a number"),
    (changed('"$pages"', '"$page"'), 10, "file[0].pages", "$page is no parameter (there are: $pages)"),
    (changed('"$pages"', "0"), 10, "file[0].pages", ">= 1, got 0"),
    (changed('pages = "$pages"', 'size = "4X"'), 10, "file[0].size", '"256K"'),
    (changed('pages = "$pages"', "size = 5000"), 10, "file[0].size", "multiple of 4096"),
    (changed('pages = "$pages"', 'size = "-4K"'), 10, "file[0].size", "expected a size"),
    (changed('pages = "$pages"', 'size = "4K"\npages = 1'), 8, "file[0]", "either size (bytes) or pages"),
    (changed('pages = "$pages"', 'pages = 4\nflags = ["MAP"]'), 11, "file[0].flags[0]", "MMAP, INIT_SHARED"),
    (changed('pages = "$pages"', "pages = 4\nflags = []"), 16, "map[0].file", "not made with MMAP"),
    (
        changed('pages = "$pages"', 'pages = 4\nvm = "vm1"'),
        11,
        "file[0].vm",
        "no vm 'vm1'; expected one of: vm0",
    ),
    (changed('id = "g"', 'id = "g"\nid2 = 1'), 10, "file[0].id2", "did you mean id?"),
    (changed('file = "g"', 'file = "h"'), 13, "slot[0].file", "no file 'h'; expected one of: g"),
    (changed('file = "g"', 'file = "g"\nstart = 2\npages = 3'), 15, "slot[0].pages", "outside file g"),
    (changed('file = "g"', 'file = "g"\nstart = 4\npages = 1'), 14, "slot[0].start", "outside file g"),
    (changed('file = "g"', "start = 1"), 13, "slot[0].start", "without a file"),
    (changed('file = "g"', "gfn = 1"), 12, "slot[0]", "pages is missing"),
    (changed('file = "g"', 'file = "g"\n[[slot]]\nid = 0\nfile = "g"'), 15, "slot[1].id", "another [[slot]]"),
    (
        changed('file = "g"', 'file = "g"\n[[slot]]\nid = 1\nfile = "g"\ngfn = 3'),
        17,
        "slot[1].gfn",
        "overlap in guest frames",
    ),
    (
        changed('file = "g"', 'file = "g"\n[[slot]]\nid = 1\nfile = "g"\ngfn = 9\nstart = 3'),
        18,
        "slot[1].start",
        "overlap in g",
    ),
    (changed('id = "m"', 'id = "m"\npages = 5'), 17, "map[0].pages", "outside file g"),
    (changed('id = "m"', 'id = "m"\neach = "nobody"'), 17, "map[0].each", "expected one of: host"),
    (
        changed('role = "vcpu"', 'role = "cpu"'),
        19,
        "task[0].role",
        "expected one of 'host', 'vcpu', got 'cpu'",
    ),
    (changed('role = "vcpu"', 'role = "vcpu"\nname = "v"'), 20, "task[0].name", "vcpu0"),
    (changed('role = "vcpu"', 'role = "vcpu"\nrepeat = 0'), 20, "task[0].repeat", ">= 1, got 0"),
    (changed('role = "vcpu"', 'role = "vcpu"\ninstances = -2'), 20, "task[0].instances", ">= 0, got -2"),
    (changed('role = "vcpu"', 'role = "vcpu"\nuntil = "done"'), 20, "task[0].until", "'background done'"),
    (
        changed('role = "vcpu"', 'role = "vcpu"\nuntil = "background done"'),
        20,
        "task[0].until",
        "background = true",
    ),
    (changed('role = "vcpu"', 'role = "vcpu"\ngap = "3 weeks"'), 20, "task[0].gap", '"300us"'),
    (changed('role = "vcpu"', 'role = "vcpu"\nstart = "5us..1us"'), 20, "task[0].start", "smaller end"),
    (changed('op = "touch", count = 2', 'op = "touhc"'), 21, "task[0].ops[0].op", "did you mean touch?"),
    (changed('op = "touch", count = 2', "count = 2"), 21, "task[0].ops[0]", "the key op is missing"),
    (changed('op = "touch", count = 2', 'op = "write"'), 21, "task[0].ops[0]", "the key value is missing"),
    (changed("count = 2 }", "conut = 2 }"), 21, "task[0].ops[0].conut", "did you mean count?"),
    (changed("count = 2 }", "count = 0 }"), 21, "task[0].ops[0].count", ">= 1, got 0"),
    (changed("count = 2 }", "count = 5 }"), 21, "task[0].ops[0].count", "outside slot 0, which has 4"),
    (changed("count = 2 }", "start = 4 }"), 21, "task[0].ops[0].start", "outside slot 0, which has 4"),
    (changed("count = 2 }", "slot = 7 }"), 21, "task[0].ops[0].slot", "no slot 7"),
    (changed("count = 2 }", "gfn = 1, slot = 0 }"), 21, "task[0].ops[0].gfn", "absolute"),
    (changed("count = 2 }", "chunk = 5 }"), 21, "task[0].ops[0].chunk", "does not fit into 4"),
    (changed("count = 2 }", "id = 1000 }"), 21, "task[0].ops[0].id", "<= 999"),
    (changed("count = 2 }", "id = 2 }"), 22, "task[0].ops[1].id", "operation 0 already"),
    (changed("count = 2 }", 'pick = "first" }'), 21, "task[0].ops[0].pick", '"random" or "next"'),
    (changed("count = 2 }", 'pace = "fast" }'), 21, "task[0].ops[0].pace", "expected a time"),
    (changed("count = 2 }", "expect = [] }"), 21, "task[0].ops[0].expect", "got an empty list"),
    (
        changed("count = 2 }", 'expect = "okay" }'),
        21,
        "task[0].ops[0].expect",
        "no outcome 'okay'; did you mean ok",
    ),
    (
        changed("count = 2 }", 'expect = ["ok", "EINVLA"] }'),
        21,
        "task[0].ops[0].expect",
        "no outcome 'EINVLA'; did you mean EINVAL",
    ),
    (
        changed("count = 2 }", 'expect = "??" }'),
        21,
        "task[0].ops[0].expect",
        "no outcome '??'; expected ok, the name of an errno, SIGBUS, ",
    ),
    (
        GOOD + '[setup]\nops = [{ op = "punch", expect = "-22" }]\n',
        29,
        "setup.ops[0].expect",
        "no outcome '-22'",
    ),
    (changed('{ op = "prefault" }', '{ op = "prefault", size = 1 }'), 22, "task[0].ops[1]", "go together"),
    (
        changed('{ op = "prefault" }', '{ op = "prefault", address = 0, size = 1, count = 2 }'),
        22,
        "task[0].ops[1].address",
        "leave out",
    ),
    (
        changed('{ op = "prefault" }', '{ op = "signal", task = "hots" }'),
        22,
        "task[0].ops[1].task",
        "no task 'hots'",
    ),
    (changed('name = "host"', 'name = "vcpu0"'), 26, "task[1].name", "called vcpu0 already"),
    (changed('name = "host"', 'name = "setup"'), 26, "task[1].name", "the model itself"),
    (changed('name = "host"\n', ""), 25, "task[1]", "needs a name"),
    (
        changed('op = "punch", start = 1', 'op = "punch", file = "h"'),
        27,
        "task[1].ops[0].file",
        "no file 'h'",
    ),
    (
        changed("start = 1, count = 2 }", "start = 3, count = 2 }"),
        27,
        "task[1].ops[0].count",
        "outside file g",
    ),
    (changed('op = "punch", start = 1', 'op = "touch"'), 27, "task[1].ops[0].op", 'needs role = "vcpu"'),
    (
        changed('op = "punch", start = 1, count = 2', 'op = "bind", slot = 3'),
        27,
        "task[1].ops[0].slot",
        "no slot 3",
    ),
    (
        changed('op = "punch", start = 1', 'op = "host_read", map = "n"'),
        27,
        "task[1].ops[0].map",
        "no map 'n'",
    ),
    (GOOD + '[setup]\nops = [{ op = "sleep", time = 1 }]\n', 29, "setup.ops[0].op", "not for the setup"),
    (GOOD + '[setup]\nops = [{ op = "punch", offset = 1 }]\n', 29, "setup.ops[0]", "go together"),
    (GOOD + '[[vm]]\nid = "vm0"\nchoices = { speed = 1 }\n', 30, "vm[0].choices.speed", "no choice 'speed'"),
    *(
        (GOOD + f'[[vm]]\nid = "vm0"\nchoices = {{ {name} = {value} }}\n', 30, f"vm[0].choices.{name}", part)
        for name, value, part in (
            ("reset_removed", '"never ever"', "'never ever': expected 'always' or 'erratum' or 'never'"),
            ("level_rule", '"4K"', "'4K': expected '4k' or 'vcpu_range' or 'inhibit'"),
            ("failed_update_state", "1", "1: expected 'firmware' or 'pre_guest'"),
            ("scan_stride", "0", "0: expected a whole number of at least 1"),
            ("accept_checks", "-4", "-4: expected a whole number of at least 1"),
            ("entry_busy_code", "true", "True: expected a whole number of at least 1"),
            ("zero_step_threshold", '"6"', "'6': expected a whole number of at least 1"),
            ("erratum", "1", "1: expected true or false"),
            ("premap", '"yes"', "'yes': expected true or false"),
            ("exclusive_tree_ops", '["BLOCK", "ADDD"]', "'ADDD']: expected a list of 'SEPT_ADD' or 'ADD'"),
            ("exclusive_tree_ops", '"BLOCK"', "'BLOCK': expected a list of 'SEPT_ADD' or 'ADD'"),
        )
    ),
    (GOOD + '[[vm]]\nid = "vm0"\ntype = "sev"\n', 30, "vm[0].type", "no VM type 'sev'"),
    (
        GOOD + '[[vm]]\nid = "vm0"\non_memory_fault = "ask"\n',
        30,
        "vm[0].on_memory_fault",
        "'convert', 'reenter'",
    ),
    ("[scenario\n", 1, "", "not TOML"),
    (GOOD + "x = \n", 28, "", "not TOML"),
    ('a = "', 1, "", "not TOML"),
    ('[scenario]\nname = "x"\nsummary = "s"\n', 0, "", "there is no [[task]]"),
]


def test_the_text_that_the_cases_spoil_is_good() -> None:
    assert loads(GOOD).parameters == {"pages": 4}


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ('"ok"', ("ok",)),
        ('["ok", "EHWPOISON", "EOPNOTSUPP", "ECONNRESET"]', ("ok", "EHWPOISON", "EOPNOTSUPP", "ECONNRESET")),
        ('["SIGBUS", "other_value", "short"]', ("SIGBUS", "other_value", "short")),
        ('["exit_memory_fault", "exit_mmio", "dead"]', ("exit_memory_fault", "exit_mmio", "dead")),
    ],
)
def test_outcomes_that_there_are(expect: str, words: tuple[str, ...]) -> None:
    workload = loads(changed("count = 2 }", f"expect = {expect} }}")).resolve()
    assert workload.actors[0].steps[0].expect == words


@pytest.mark.parametrize(
    ("choices", "arch", "kept"),
    [
        ('exclusive_tree_ops = ["AUG", "REMOVE"]', "tdx", frozenset({"AUG", "REMOVE"})),
        ("exclusive_tree_ops = []", "tdx", frozenset()),
        ('reset_removed = "never"', "tdx", "never"),
        ("premap = true", "tdx", True),
        ("zero_step_threshold = 1", "tdx", 1),
        ('failed_update_state = "pre_guest"', "snp", "pre_guest"),
        ("in_place_source = false", "snp", False),
        ("rmpupdate_clears_validated = false", "snp", False),
    ],
)
def test_choices_of_the_right_kind(choices: str, arch: str, kept: object) -> None:
    text = changed('[[map]]\nid = "m"\n', "")
    session = build(loads(f'{text}[[vm]]\nid = "vm0"\nchoices = {{ {choices} }}\n'), "v3", arch)
    arch_actor: Any = session.machine.vm("vm0").arch
    assert getattr(arch_actor.choices, choices.partition(" ")[0]) == kept


@pytest.mark.parametrize(("text", "line", "field", "part"), CASES, ids=lambda value: str(value)[-40:])
def test_each_error_names_file_line_and_field(text: str, line: int, field: str, part: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        loads(text, "bad.toml")
    error = caught.value
    assert "\n" not in str(error)
    assert (error.source, error.line, error.field) == ("bad.toml", line, field), str(error)
    assert part in error.reason
    assert str(error).startswith(f"bad.toml:{line}: " if line else "bad.toml: ")


def test_a_parameter_error_points_at_the_key_that_uses_it() -> None:
    with pytest.raises(ScenarioError, match=r"x\.toml:10: file\[0\]\.pages: expected int >= 1, got 0"):
        loads(GOOD, "x.toml").resolve({"pages": 0})


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"parameters": {"page": 1}}, "has no parameter page (there are: pages)"),
        ({"parameters": {"pages": "many"}}, "expected int"),
        ({"vcpus": 2}, "no parameter vcpus"),
        ({"arch": "sev"}, "no VM type 'sev'; expected one of: default, sw-protected"),
        ({"release": "5.0"}, "no release '5.0'; expected one of: 6.12"),
        ({"arch": "default", "release": "6.12"}, "KVM_CREATE_GUEST_MEMFD returned EINVAL"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(arguments: dict[str, object], part: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        build(loads(GOOD, "x.toml"), "baseline", **arguments)  # type: ignore[arg-type]
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_search_of_nothing_is_refused() -> None:
    """One task that does something is enough."""
    some = changed('role = "vcpu"', 'role = "vcpu"\ninstances = 0')
    ScenarioProgram(scenario=loads(some, "x.toml")).build(FirstRunnable())
    none = some.replace('name = "host"', 'name = "host"\ninstances = 0')
    with pytest.raises(ScenarioError) as caught:
        ScenarioProgram(scenario=loads(none, "x.toml")).build(FirstRunnable())
    assert str(caught.value) == "x.toml: task: none has an operation, so that nothing would be looked at"
    with pytest.raises(ScenarioError, match="nothing would be looked at"):
        ScenarioProgram(scenario=load_named("same"), vcpus=0).build(FirstRunnable())


def test_negative_vcpus_are_refused() -> None:
    with pytest.raises(ScenarioError, match="vcpus: expected a number"):
        load_named("same").resolve(vcpus=-1)


def test_a_vm_type_outside_the_scenarios_is_refused() -> None:
    with pytest.raises(
        ScenarioError, match=r"launch\.toml:\d+: scenario\.vm_types: makes no sense for VM type default"
    ):
        build(load_named("launch"), "v3", "default")


def test_a_setup_that_the_kernel_refuses_is_the_scenarios_error() -> None:
    text = GOOD + '[setup]\nops = [{ op = "punch", offset = 1, length = 1 }]\n'
    with pytest.raises(ScenarioError, match=r"x\.toml:29: setup\.ops\[0\]: punch came to EINVAL"):
        build(loads(text, "x.toml"), "v3", "default")
    build(loads(text.replace("length = 1", 'length = 1, expect = "EINVAL"')), "v3", "default").run()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot read it"):
        load(tmp_path / "absent.toml")
    with pytest.raises(ScenarioError, match="cannot read it"):
        find(str(tmp_path / "absent.toml"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="UTF-8"):
        load(binary)


def test_an_unknown_name_gets_a_hint() -> None:
    with pytest.raises(ScenarioError, match="did you mean punch"):
        find("punhc")
    with pytest.raises(ScenarioError, match="there are: alloc_punch"):
        find("zzz")


def test_a_workload_is_resolved_once() -> None:
    scenario: Scenario = loads(GOOD)
    assert scenario.resolve() is scenario.resolve({"pages": 4})
    assert scenario.resolve() is not scenario.resolve({"pages": 5})


def test_rounds_that_take_no_virtual_time_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit of virtual time is ever met while each call is refused at once."""
    monkeypatch.setattr("gmemsim.scenarios.thread._STILL", 300)
    launch = find("zoo-launch")
    stuck = build(launch, "v3", "snp", small=True, parameters={"rounds": 2**31})
    with pytest.raises(ScenarioError, match=r"launch\.toml: task vcpu0\.repeat: expected rounds that take"):
        stuck.run()
    # As many that end by themselves are no error.
    assert (
        build(launch, "v3", "snp", small=True, parameters={"rounds": 300}).run().results["vcpu0"].rounds
        == 300
    )
