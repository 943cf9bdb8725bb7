"""Write docs/record.md from the probes that `gmemsim follow` reads.

python docs/generate_record.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Final

from gmemsim.follow import probes as read
from gmemsim.lab import probes as known

PAGE = Path(__file__).parent / "record.md"

RELEASES: Final = ("6.12", "6.18", "7.2", "7.3")

#: Probes that only some of the recorded kernels had: the metadata of the recordings that docs/follow.md has figures of.
SOME: Final[dict[str, tuple[str, ...]]] = {
    "get_folio": ("7.2", "7.3"),
    "arch_prepare": ("6.18", "7.2"),
    "make_private": ("7.3",),
    "arch_reclaim": ("7.3",),
    "arch_invalidate": ("6.18", "7.2"),
    "arch_inv_range": ("7.2", "7.3"),
    "user_fault": ("6.18", "7.2", "7.3"),
    "inv_begin": ("6.12",),
    "inv_begin2": ("6.18",),
    "inv_start": (),
    "inv_start2": ("7.2", "7.3"),
    "mmu_inv_begin": ("6.12", "6.18"),
    "mmu_inv_start": ("7.2", "7.3"),
    "faultin": ("6.18", "7.2", "7.3"),
    "fm_get": ("6.12", "6.18"),
    "fm_getm": ("7.2", "7.3"),
    "kvm_vm_set_mem_attributes": ("6.18", "7.2", "7.3"),
    "memory_failure": (),
    "set_region": (),
}

#: Every user of the function passes through these, so the lab leaves them out.
LOCKS: Final = {name: (name, "lock=%di:x64") for name in ("down_read", "down_write", "up_read", "up_write")}

#: Instructions within a function, one probe for each inlined copy: no function to name.
INSTRUCTIONS: Final = ("zero_begin", "uptodate_set")

#: Observations with which a call begins (`follow/calls.py`), and what gives a folio its frame number and its file.
CALLS: Final = (
    "page_fault",
    "pre_fault",
    "fallocate",
    "user_fault",
    "set_attributes",
    "memory_failure",
    "set_region",
)
FRAMES: Final = ("filemap_add", "page_cache_add")


def use(name: str) -> str:
    """What the probe is for, in a word or two."""
    kind = read.PROBES.get(name, "")
    if kind in CALLS:
        return "begins a call"
    if kind in FRAMES:
        return "frames, file"
    return "hint" if name in read.HINTS else "a step"


def releases(name: str) -> str:
    there = SOME.get(name.removesuffix("_ret"), RELEASES)
    return " | ".join("yes" if release in there else "" for release in RELEASES)


def entries() -> list[tuple[str, str, str, str]]:
    """Kind in kprobe_events, name, function and fetch arguments of each probe that `follow` reads."""
    tables = (("p", known.PROBES), ("r64", known.RETURNS))
    wanted = read.PROBES.keys() | read.HINTS
    return [(kind, name, *of[name]) for kind, of in tables for name in of if name in wanted]


def tracepoints() -> list[str]:
    return [event for event in known.EVENTS if event.rpartition("/")[2] in read.PROBES]


def table() -> str:
    lines = [
        f"| name | at | fetch | {' | '.join(RELEASES)} | observation | use |",
        f"|---|---|---|{':-:|' * len(RELEASES)}---|---|",
    ]
    for event in tracepoints():
        name = event.rpartition("/")[2]
        lines.append(
            f"| `{name}` | tracepoint `{event}` | | {releases(name)} | {read.PROBES[name]} | {use(name)} |"
        )
    for kind, name, function, fetch in entries():
        at = f"{'return of ' if kind != 'p' else ''}`{function}`"
        shown = read.PROBES.get(name, "none")
        arguments = f"`{fetch}`" if fetch else ""
        lines.append(f"| `{name}` | {at} | {arguments} | {releases(name)} | {shown} | {use(name)} |")
    return "\n".join(lines)


def optional() -> str:
    lines = ["| name | at | fetch | observation |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | `{at}` | `{fetch}` | {read.PROBES[name]} |" for name, (at, fetch) in LOCKS.items()
    ]
    fetches = {"zero_begin": "", "uptodate_set": "`folio=%REGISTER:x64`"}
    lines += [
        f"| `{name}_SUFFIX` | an instruction | {fetches[name]} | {read.PROBES[name]} |"
        for name in INSTRUCTIONS
    ]
    return "\n".join(lines)


def page() -> str:
    lines = "\n".join(" ".join(entry).rstrip() for entry in entries())
    events = tracepoints()
    each = [event.replace("/", ":") for event in events]
    filled = {
        "@TABLE@": table(),
        "@OPTIONAL@": optional(),
        "@PROBES@": lines,
        "@EVENTS@": " ".join(events),
        "@TRACE_CMD@": " \\\n".join(f'    -e {event} -f "$FILTER"' for event in ("g", *each)),
        "@PERF@": " \\\n".join(f"    -e '{event}' --filter \"$FILTER\"" for event in ("g:*", *each)),
    }
    text = TEXT
    for mark, value in filled.items():
        text = text.replace(mark, value)
    return text


TEXT: Final = inspect.cleandoc(r"""
# Recording a trace on your own machine

<!-- Made by docs/generate_record.py from the probes that `gmemsim follow` reads. -->

`gmemsim follow` needs a list of events of a kernel: kprobes on functions of guest_memfd and KVM, a few tracepoints,
and a file of metadata beside it. `gmemsim lab run SCENARIO --kernel K --trace FOLDER` makes both in a virtual
machine ([the lab](lab.md)); this page is for a kernel and a VMM of your own. It takes root, `CONFIG_KPROBE_EVENTS`
and x86-64: the probes name its registers. The functions are those of KVM with the TDP MMU
(`/sys/module/kvm/parameters/tdp_mmu` is `Y`), so load `kvm` and its vendor module before you begin. The kprobes are
those that the lab puts into its kernels; the commands of `trace-cmd` and `perf` are written after their manuals and
were not run on a kernel with these probes.

## What a trace needs

**Threads.** Each thread whose events are in the trace becomes a task, and an event is its thread's: `COMM-PID`.
Record the vCPU threads and every VMM thread that punches, converts, allocates or touches the memory, all of them;
events of a thread that was filtered out are missing, and what it did to the file then makes a later event
impossible. QEMU calls its vCPU threads `CPU 0/KVM` only with `-name NAME,debug-threads=on`. Blanks and dashes in a
name are read. The digits at the end are cut off to tell what is probed of a *kind* of thread: `vcpu0` and `vcpu1`
are of one kind. A thread is its pid: one that is renamed, or whose name the kernel forgot (`<...>`), has the last
name that shows.

**One guest_memfd.** One file is followed, the others' events are left out. Which one, and how its pages are
numbered, says a line that you write into the trace when recording has begun:

    GMEM start name=NAME vcpus=N pages=PAGES ino=INODE data_gfn=0xGFN

PAGES is the size of the file in pages of 4 KiB, INODE what `stat -L -c %i /proc/PID/fd/FD` says of its descriptor,
GFN the gfn to which page 0 of the file is bound. Without the line the file is the first one in use, its page 0 where a
fault's gfn and the index that it looks up say, and its end behind what is used of it; what was there before the first
event is then not known, and much that would be rejected is undecided. One line a recording.

**A clock that is the same on all CPUs.** Events are taken in the order of the text, which is that of the clock.
`mono` is what the lab uses; `x86-tsc` and `counter` are read as well. `local`, the default of tracefs, can differ
between CPUs and put a cause after its effect.

**A buffer that is large enough.** Buffers are per CPU, and a full one drops events (see LOST EVENTS below). The
recordings of `docs/follow.md` used 16,384 KiB a CPU. Short runs are better than large buffers.

**The beginning.** Record from before the memory is first touched, and write the start line then. Pages that were
there before are inferred from their first event, and a call that had begun before is left out.

**Slots.** If a slot of the file is made or deleted meanwhile, `set_region` and its return have to be probed; without
them a trace that shows that is undecided.

## The probes

*yes*: the recordings of that release had it (6.12 without SEV or TDX, so without arch hooks; 6.18, 7.2 and 7.3 as
Debian builds them). Another configuration or compiler may inline what is a symbol here. A probe that is not there
is no error: its step is then an unobserved one, and less is checked. Names are fixed, and so are the names of the
fields.

@TABLE@

Of what *begins a call* you need what your threads do: without `kvm_page_fault` no fault of a vCPU is followed,
without `fallocate` no punch. `fm_add` and `mm_filemap_add_to_page_cache` belong together: the two of one insertion
give the frame number of a folio's address, wherever KASLR put the memory map, and the inode if the start line does
not. A *hint* steers the search and is compared with nothing. Where two names have one observation, a kernel has one
of the functions. All the rest is checked where it is probed. A trace in which nothing of guest_memfd shows is
*undecided*.

On 6.12 the range of a conversion shows in no tracepoint: `--conversions-from` takes it from another recording of
the same program.

Optional, and not in the script below:

@OPTIONAL@

The rwsem functions show the invalidate lock, and cost much: every user of an rwsem passes through them.
`zero_begin` is the instruction at which a folio's clearing begins, `uptodate_set` the one that sets its flag; both
are inlined, so each build has addresses of its own (`objdump -d` of `kvm.ko`), each copy a name of its own
(`zero_begin_gp0`, `zero_begin_uf0`), and the probe is written `p:g/zero_begin_gp0 kvm_gmem_get_pfn+0xOFFSET`. Their
lines in the metadata begin with `OFF` instead of `PROBE`.

## Put the probes in place

The same for all three tools, once, in a folder of your own. It deletes the kprobe events that are there, puts each
probe in whose function the kernel has, and writes `my.json`, the metadata.

```sh
VM_TYPE=KVM_X86_DEFAULT_VM   # or KVM_X86_SW_PROTECTED_VM
T=/sys/kernel/tracing
echo 0 > $T/tracing_on
[ ! -e $T/events/g/enable ] || echo 0 > $T/events/g/enable
echo > $T/kprobe_events
awk '$2 ~ /^[tT]$/ { print $3 }' /proc/kallsyms > symbols
while read -r kind name function fetch; do
    word=PROBE; [ $kind = p ] || word=RET
    symbol=$(grep -E -m 1 "^$function(\.(isra|constprop|part)\.[0-9]+)*\$" symbols || true)
    if [ -z "$symbol" ]; then echo "$word $function missing"
    elif echo "$kind:g/$name $symbol $fetch" >> $T/kprobe_events 2>/dev/null; then echo "$word $name $symbol ok"
    else echo "$word $name $symbol failed"; fi
done > probes.log <<'END'
@PROBES@
END
for event in @EVENTS@; do
    if [ -d $T/events/$event ]; then echo "TP $event ok"; else echo "TP $event FAILED"; fi
done >> probes.log
list() { sed 's/.*/  "&"/; $!s/$/,/'; }
{
    printf '{"uname": "%s", "vm_type": "%s", "probes": [\n' "$(uname -a)" $VM_TYPE
    grep ' ok$' probes.log | list
    echo '], "probes_unavailable": ['
    grep -v ' ok$' probes.log | list
    echo ']}'
} > my.json
```

`gmemsim follow` reads these keys of `NAME.json` beside `NAME.trace` or `NAME.trace.gz` (or of `--metadata`'s file,
where that is given):

* `probes`: what was recorded. Without it only the names in the trace count, and a step that never showed is taken
  for one that was not probed.
* `probes_unavailable`: lines `PROBE FUNCTION missing`. An arch hook that was looked for in vain is *absent*, and a
  version that calls it is rejected.
* `uname`: the release, around which the version's steps are built (else `--release`).
* `vm_type`: whether the VM is `KVM_X86_SW_PROTECTED_VM` (a trace with `arch_pre_set_attrs` is taken for one, too);
  others are not told apart.
* `scenario`: a name, where the trace has no start line.

`r64` lets 64 threads be inside a function at once; a return beyond that is not recorded, and no tool says so with
the trace: the last column of `kprobe_profile` counts them. It must be 0.

## Record with tracefs

In all three, FILTER says which threads; the names here are examples.

```sh
FILTER='COMM ~ "CPU*" || COMM ~ "punch*"'
T=/sys/kernel/tracing
echo nop > $T/current_tracer
echo mono > $T/trace_clock
echo 16384 > $T/buffer_size_kb
echo > $T/trace
for event in g @EVENTS@; do
    [ -d $T/events/$event ] || continue
    echo "$FILTER" > $T/events/$event/filter
    echo 1 > $T/events/$event/enable
done
echo 1 > $T/tracing_on
echo "GMEM start name=my vcpus=2 pages=512 ino=$INODE data_gfn=0x100000" > $T/trace_marker
# … the workload …
echo 0 > $T/tracing_on
for event in g @EVENTS@; do
    [ ! -d $T/events/$event ] || echo 0 > $T/events/$event/enable
done
grep -E 'overrun|dropped' $T/per_cpu/cpu*/stats   # all must be 0
cat $T/kprobe_profile                             # last column: 0
gzip -c < $T/trace > my.trace.gz
```

## Record with trace-cmd

Leave out an event that `my.json` calls FAILED. Write the start line into `/sys/kernel/tracing/trace_marker` while
it records.

```sh
trace-cmd record -o my.dat -C mono -b 16384 \
@TRACE_CMD@
trace-cmd report -i my.dat > my.trace
```

It ends with Ctrl-C. `my.dat` (trace.dat) is binary: `follow` says so, and names the second command.

## Record with perf

There is no start line in it: perf does not record `trace_marker`. So the first and the last page of the file must
be touched.

```sh
perf record -o my.data -a -k CLOCK_MONOTONIC -m 16M \
@PERF@
perf script -i my.data --show-lost-events -F comm,pid,tid,cpu,time,event,trace > my.trace
```

It ends with Ctrl-C. `my.data` (perf.data) is binary: `follow` says so, and names the second command. Perf's buffers
are its own (`-m`, per CPU).

## LOST EVENTS

`CPU:2 [LOST 17 EVENTS]` in the text says that a buffer was full and that CPU's events are missing there. What a
thread did then is unknown, so neither *accepted* nor *rejected* would be true: `follow` refuses the trace, exit
code 2. Record again: a larger buffer (`buffer_size_kb`, `-b`, `-m`), fewer threads, a shorter run, without the
optional probes. Cutting the line out does not bring the events back. The same holds of `[17 EVENTS DROPPED]`
(`trace-cmd report`), of `PERF_RECORD_LOST` (`perf script`), of `"lost_events": 17` in the metadata, and of a head in
which `entries-in-buffer/entries-written` differ: there tracefs overwrote the oldest events, of each CPU up to another
time.

A text that was cut off is refused too, as far as it shows: a last line without its end, or fewer events than its head
says are in the buffer. So filter what is recorded, not the text.

None of them may be there. Then `overrun` in `per_cpu/cpu*/stats` differs from 0, `trace-cmd record` prints overruns of
each CPU at its end, `perf record` how many chunks were lost. `follow` does not read these: look at them, or write the
sum into the metadata as `lost_events`.

## Follow

    gmemsim follow my.trace.gz --patch v3

`--patch` names the version whose model is asked, or `path/to/file.py:Class`. What the answers mean is in [Following
a kernel's trace](follow.md). When you are done:

    cd /sys/kernel/tracing; echo 0 > events/g/enable; echo > kprobe_events; echo 1 > tracing_on
""") + "\n"  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
