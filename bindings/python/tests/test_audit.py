"""The audit log: entries, queries, verification, erasure."""

import base64
import hashlib
import json
import shutil
import struct
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from authority_nanos import (
    AuditError,
    AuthorityKernel,
    InvalidArgumentError,
    NotFoundError,
    OperationDeniedError,
)


def parsed(entries: List[bytes]) -> List[Dict[str, Any]]:
    return [json.loads(entry) for entry in entries]


def test_every_request_leaves_an_entry(ak: AuthorityKernel) -> None:
    handle = ak.alloc("invoice", {"a": 1})
    ak.read(handle)
    with pytest.raises(OperationDeniedError):
        ak.file_read("/etc/shadow")
    alloc, read, denied = parsed(ak.audit_logs())[-3:]
    assert (alloc["event"], alloc["type"], alloc["actor"], alloc["decision"]) == ("alloc", "invoice", "main", "permit")
    assert (read["event"], read["handle_id"]) == ("read", str(handle))
    assert (denied["event"], denied["target"], denied["decision"]) == ("fs_read", "/etc/shadow", "default_deny")
    for entry in (alloc, read, denied):
        assert {"seq", "timestamp", "event", "actor", "origin", "target", "decision"} <= set(entry)
        assert entry["origin"] == "kernel"


@pytest.mark.parametrize(
    "details, kept",
    [
        ({"action": "example", "n": 1}, {"action": "example", "n": 1}),
        (b'{"a": 1}', {"a": 1}),
        ("just words", "just words"),
        ([1, 2], [1, 2]),
        (None, {}),
    ],
)
def test_audit_log_records_details(ak: AuthorityKernel, details: Any, kept: Any) -> None:
    ak.audit_log("custom_event", details)
    (entry,) = parsed(ak.audit_query(event_type="custom_event"))
    assert entry["event"] == "custom_event" and entry["origin"] == "agent" and entry["details"] == kept


@pytest.mark.parametrize("event", ["alloc", "policy_load", "genesis", "", "a\0b", "\ud800"])
def test_kernel_events_are_reserved(ak: AuthorityKernel, event: str) -> None:
    with pytest.raises((InvalidArgumentError, OperationDeniedError)):
        ak.audit_log(event, {})


def test_queries(ak: AuthorityKernel) -> None:
    for value in range(5):
        ak.alloc("thing", value)
    agent = ak.agent("worker")
    agent.audit_log("note", {})
    before = time.time_ns() // 1000
    ak.audit_log("late", {})

    def seqs(**query: Any) -> List[int]:
        return [entry["seq"] for entry in parsed(ak.audit_query(**query))]

    allocs = seqs(event_type="alloc")
    assert len(allocs) == 5 and allocs == sorted(allocs)
    assert seqs(event_type="alloc", limit=2) == allocs[:2]
    assert seqs(event_type="alloc", cursor=allocs[1]) == allocs[2:]
    assert seqs(event_type="alloc", newest=True, limit=2) == allocs[-2:]
    assert seqs(operation="alloc") == seqs(operation="ALLOC") == allocs
    assert seqs(actor="nobody") == [] == seqs(event_type="alloc", decision="default_deny")
    (note,) = parsed(ak.audit_query(event_type="note", actor="worker"))
    assert note["actor"] == "worker"
    assert seqs(event_type="late", since=before) and not seqs(event_type="alloc", since=before)
    assert seqs(event_type="alloc", until=before) == allocs
    for form in (b'{"event_type": "alloc", "limit": 2}', '{"event_type": "alloc", "limit": 2}'):
        assert [entry["seq"] for entry in parsed(ak.audit_query(form))] == allocs[:2]
    assert [entry["seq"] for entry in parsed(ak.audit_query({"event_type": "alloc"}, limit=2))] == allocs[:2]


@pytest.mark.parametrize("query", [b"not json", [], 5, {"evnt": "alloc"}, {"limit": -1}, {"limit": "all"}, {"limit": 10**9}])
def test_malformed_queries_are_refused(ak: AuthorityKernel, query: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.audit_query(query)


def test_audit_logs_gives_the_newest_thousand(ak: AuthorityKernel) -> None:
    for value in range(1_100):
        ak.alloc("thing", value)
    entries = parsed(ak.audit_logs())
    assert len(entries) == 1_000
    assert [entry["seq"] for entry in entries] == list(range(entries[0]["seq"], entries[0]["seq"] + 1_000))


def test_an_agent_sees_its_own_entries(ak: AuthorityKernel) -> None:
    ak.alloc("thing", {})
    agent = ak.agent("worker")
    agent.audit_log("note", {})
    assert {entry["actor"] for entry in parsed(agent.audit_query())} == {"worker"}


def test_an_untouched_log_verifies(ak: AuthorityKernel) -> None:
    ak.call_tool("add", {"a": 1, "b": 2})
    with pytest.raises(OperationDeniedError):
        ak.file_read("/etc/shadow")
    report = ak.audit_verify()
    assert report and report.consistent and report.first_bad is None and report.replayed
    assert report.signed_by is None and report.anchored_at is None


def test_a_log_is_verified_against_a_kept_checkpoint_and_key(ak: AuthorityKernel, tmp_path: Path) -> None:
    ak.audit_log("before", {})
    key, anchor = ak.audit_key(), ak.audit_checkpoint()
    size = int(anchor.split(b"\n")[1])
    ak.audit_log("after", {})
    report = ak.audit_verify(key=key, anchor=anchor)
    assert report and report.anchored_at == size and report.signed_by and report.signed_by in key
    assert ak.audit_verify(anchor=anchor.decode()).anchored_at == size
    assert ak.audit_verify(key=key).signed_by and ak.audit_verify(key=key).anchored_at is None
    with AuthorityKernel(state_dir=tmp_path / "other") as other, pytest.raises(InvalidArgumentError):
        ak.audit_verify(anchor=other.audit_checkpoint())
    forged = anchor.replace(b"\n%d\n" % size, b"\n%d\n" % (size - 1))
    for arguments in ({"anchor": forged}, {"key": "nonsense"}, {"anchor": b"nonsense"}):
        with pytest.raises(InvalidArgumentError):
            ak.audit_verify(**arguments)


def test_a_proof_leads_to_the_checkpoint(ak: AuthorityKernel) -> None:
    for number in range(9):
        ak.audit_log("note", {"number": number})
    proof = ak.audit_proof(5)
    entry = bytes.fromhex(proof["entry"])
    node, index, last = hashlib.sha256(b"\0" + entry).digest(), 5, proof["size"] - 1
    assert node.hex() == proof["leaf_hash"]
    for sibling in map(bytes.fromhex, proof["path"]):
        # RFC 9162, section 2.1.3.2
        if index & 1 or index == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        index, last = index >> 1, last >> 1
    _origin, size, root = proof["checkpoint"].split("\n")[:3]
    assert int(size) == proof["size"] and base64.b64decode(root) == node
    assert ak.agent("worker").audit_proof(5)["entry"] is None
    with pytest.raises(NotFoundError):
        ak.audit_proof(10_000)


def test_a_rolled_back_journal_is_detected(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with AuthorityKernel(state_dir=state) as ak:
        ak.audit_log("first", {})
    kept = shutil.copytree(state, tmp_path / "kept")
    with AuthorityKernel(state_dir=state) as ak:
        ak.audit_log("second", {})
        key, anchor = ak.audit_key(), ak.audit_checkpoint()
    shutil.rmtree(state)
    shutil.copytree(kept, state)
    with AuthorityKernel(state_dir=state) as ak:
        assert ak.audit_verify(), "by itself the older copy is consistent"
        report = ak.audit_verify(key=key, anchor=anchor)
        assert not report and report.first_bad is not None and "gone" in str(report.reason)


def segment(state: Path) -> Path:
    (file,) = (state / "journal").glob("*.akj")
    return file


def place(journal: bytes, seq: int) -> int:
    """The offset of the entry `seq` in a segment (docs/audit-format.md)."""
    return journal.index(struct.pack("<4sQ", b"AKL1", seq))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with AuthorityKernel(state_dir=tmp_path / "state") as ak:
        ak.audit_log("payment", {"to": "alice", "amount": 10})
        ak.audit_log("payment", {"to": "bob", "amount": 20})
        ak.alloc("thing", {"a": 1})
    return tmp_path / "state"


def test_a_log_survives_a_restart(state: Path) -> None:
    with AuthorityKernel(state_dir=state) as ak:
        assert ak.audit_verify()
        payments = parsed(ak.audit_query(event_type="payment"))
        assert [entry["details"]["to"] for entry in payments] == ["alice", "bob"]
        (alloc,) = parsed(ak.audit_query(event_type="alloc"))
        assert ak.read_json(alloc["handle_id"]) == {"a": 1}


def test_recorded_bodies_are_sealed_on_disk(state: Path) -> None:
    for file in state.rglob("*"):
        assert not file.is_file() or b"amount" not in file.read_bytes(), file


@pytest.mark.parametrize("forged", [b"evil", b"MAIN"])
def test_verification_names_a_forged_entry(state: Path, forged: bytes) -> None:
    with AuthorityKernel(state_dir=state) as ak:
        seq = parsed(ak.audit_query(event_type="payment"))[0]["seq"]
    file = segment(state)
    journal = file.read_bytes()
    agent = journal.index(b"main", place(journal, seq))
    file.write_bytes(journal[:agent] + forged + journal[agent + 4 :])
    with AuthorityKernel(state_dir=state) as ak:
        report = ak.audit_verify()
        assert not report and report.consistent is False and report.first_bad == seq
        with pytest.raises(AuditError):
            ak.alloc("thing", {})


def test_any_flipped_byte_of_an_entry_is_detected(state: Path) -> None:
    file = segment(state)
    good = file.read_bytes()
    start = place(good, 2) - 13
    for offset in range(start, start + 600, 7):
        flipped = bytearray(good)
        flipped[offset] ^= 0x40
        file.write_bytes(flipped)
        with AuthorityKernel(state_dir=state) as ak:
            report = ak.audit_verify()
            assert not report and report.first_bad is not None, offset
    file.write_bytes(good)
    with AuthorityKernel(state_dir=state) as ak:
        assert ak.audit_verify()


def test_a_log_verifies_after_a_subject_is_erased(ak: AuthorityKernel) -> None:
    kept = ak.alloc("note", {"text": "kept"})
    note = ak.alloc("note", {"text": "secret"}, subject="alice")
    ak.write(note, [{"op": "add", "path": "/more", "value": "secret"}])
    ak.audit_log("met", {"where": "secret"}, subject="alice")
    anchor = ak.audit_checkpoint()
    assert ak.erase("alice") == {"objects": 1}
    with pytest.raises(NotFoundError):
        ak.read(note)
    assert ak.read_json(kept) == {"text": "kept"}
    assert b"secret" not in b"".join(ak.audit_logs())
    report = ak.audit_verify(anchor=anchor)
    assert report and report.opaque >= 3 and report.replayed > 0
    with pytest.raises(NotFoundError):
        ak.erase("alice")
    with pytest.raises(OperationDeniedError):
        ak.agent("worker").erase("worker")


def test_entries_are_found_by_target_and_rule_and_paged_backwards(ak: AuthorityKernel) -> None:
    ak.load_policy(text='[[rule]]\nid = "no-keys"\neffect = "forbid"\noperation = "fs.read"\ntarget = "/keys/**"\n')
    for path in ("/keys/a", "/etc/b", "/keys/c"):
        with pytest.raises(OperationDeniedError):
            ak.file_read(path)
    targets = [entry["target"] for entry in parsed(ak.audit_query(target="/keys/"))]
    assert targets == ["/keys/a", "/keys/c"]
    assert [entry["target"] for entry in parsed(ak.audit_query(rule_id="no-keys"))] == targets
    newest = parsed(ak.audit_query(event_type="fs_read", newest=True, limit=2))
    older = parsed(ak.audit_query(event_type="fs_read", newest=True, limit=2, before=newest[0]["seq"]))
    assert [entry["target"] for entry in older + newest] == ["/keys/a", "/etc/b", "/keys/c"]
