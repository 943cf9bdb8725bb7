"""What a failure is about: pages under their three names, and the objects that have them."""

from __future__ import annotations

from gmemsim.audit.events import Lock
from gmemsim.audit.kvm_events import Clear, Fallocate, GetPfn, MapRet, Populate, Prepare, Zap
from gmemsim.engine.op import Op
from gmemsim.report.interest import Interest, spans_of_event, spans_of_op


def test_spans_of_events() -> None:
    """Index, guest frame or host frame; ranges by what the event counts."""
    assert spans_of_event(GetPfn(0x100, 3)) == [("index", 3, 4), ("gfn", 0x100, 0x101)]
    assert spans_of_event(Fallocate(True, 2, 5)) == [("index", 2, 5)]
    assert spans_of_event(Zap("vm0", 2, 5, "both")) == [("gfn", 2, 5)]
    assert spans_of_event(Populate(8, 4, True)) == [("gfn", 8, 12)]
    assert spans_of_event(MapRet(5)) == []


def test_spans_of_operations() -> None:
    """By the object; an operation on the whole of one is on no page."""
    inodes = frozenset({"gmem0"})
    assert spans_of_op(Op("rmw", "gmem0", 1, 2), inodes) == [("index", 1, 2)]
    assert spans_of_op(Op("rmw", "other", 1, 2), inodes) == []
    assert spans_of_op(Op("rmw", "gmem0.uptodate", 1, 2), inodes) == [("index", 1, 2)]
    assert spans_of_op(Op("load", "vm0.spte", 8, 9, "r"), inodes) == [("gfn", 8, 9)]
    assert spans_of_op(Op("store", "vm0.attributes", 8, 9), inodes) == [("gfn", 8, 9)]
    assert spans_of_op(Op("store", "gmem0.attributes", 8, 9), inodes) == [("index", 8, 9)]
    assert spans_of_op(Op("store", "frame", 7, 8), inodes) == [("pfn", 7, 8)]
    assert spans_of_op(Op("load", "gmem0"), inodes) == []


def test_names_of_a_page_spread() -> None:
    """From the guest frame over the index to the host frame; neighbours and wide ranges stay out."""
    interest = Interest(["gmem0"])
    interest.add_values({"gfn": 0x100, "vm": "vm0", "seq": 3})
    interest.spread([Clear(3, 0x1003, 1), GetPfn(0x100, 3), GetPfn(0x101, 4), Prepare(0x101, 0x1004, 0)])
    assert interest.spans == {("gfn", 0x100, 0x101), ("index", 3, 4), ("pfn", 0x1003, 0x1004)}
    assert interest.labels == {"vm0"}
    assert interest.event(Fallocate(True, 0, 4))
    assert not interest.event(Fallocate(True, 4, 8))
    assert interest.op(Op("rmw", "gmem0.content", 3, 4))
    assert not interest.op(Op("rmw", "gmem0.content", 4, 5))


def test_labels_and_suffixes() -> None:
    """Locks by label; objects of a rule by the end of theirs."""
    interest = Interest((), (".seq",))
    interest.add_event(Lock("gmem0.folio[0]", "w"))
    assert interest.event(Lock("gmem0.folio[0]", "w"))
    assert not interest.event(Lock("gmem0.folio[1]", "w"))
    assert interest.op(Op("acquire", "gmem0.folio", 0, 1))
    assert interest.op(Op("rmw", "vm7.seq"))
    assert not interest.op(Op("rmw", "vm7.memslots"))
