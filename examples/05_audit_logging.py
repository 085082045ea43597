#!/usr/bin/env python3
"""The audit log: every request leaves one entry, denied ones too; entries are hash-chained, and re-executing them
shows that each decision follows. Whoever forges an entry is caught.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from authority_nanos import AuthorityKernel, AuthorityKernelError, OperationDeniedError


def read_and_query() -> None:
    began = time.time_ns() // 1000  # the log counts microseconds
    with AuthorityKernel() as ak:
        print("✅ Connected to Authority Kernel")

        handle = ak.alloc("invoice", {"amount": 10})
        ak.read(handle)
        try:
            ak.file_read("/etc/shadow")
        except OperationDeniedError:
            pass
        worker = ak.agent("worker")
        worker.audit_log("order_placed", {"order": 7, "amount": 10})

        entries = [json.loads(entry) for entry in ak.audit_logs()]
        print(f"✅ The log holds {len(entries)} entries; the newest:")
        for entry in entries[-5:]:
            print(f"ℹ️    #{entry['seq']} {entry['actor']} {entry['event']} {entry['target']}: {entry['decision']}")

        queries = {
            "what was allocated": {"event_type": "alloc", "since": began},
            "what worker did": {"actor": "worker", "since": began},
            "what was denied": {"decision": "default_deny", "since": began},
        }
        for question, query in queries.items():
            found = [json.loads(entry) for entry in ak.audit_query(query)]
            print(f"✅ {question}: {[(entry['event'], entry['target']) for entry in found]}")
            assert found

        report = ak.audit_verify()
        print(f"✅ Log verified: {bool(report)}, {report.replayed} entries re-executed")
        assert report


def catch_a_forger(state: Path) -> None:
    with AuthorityKernel(state_dir=state) as ak:
        ak.agent("alice").audit_log("payment", {"to": "bob", "amount": 10})
        ak.agent("bobby").audit_log("payment", {"to": "alice", "amount": 20})
        assert ak.audit_verify()
    with AuthorityKernel(state_dir=state) as ak:
        print(f"✅ A durable log was reopened and verified: {bool(ak.audit_verify())}")

    # What was paid is sealed. Whoever holds the disk changes who paid it.
    for file in state.rglob("*"):
        if not file.is_file():
            continue
        assert b"amount" not in file.read_bytes()
        if b"alice" in file.read_bytes():
            file.write_bytes(file.read_bytes().replace(b"alice", b"carol"))
            print(f"ℹ️  Forged an entry in {file.name}")

    with AuthorityKernel(state_dir=state) as ak:
        report = ak.audit_verify()
        assert not report and report.first_bad is not None
        print(f"✅ The forgery was caught at entry #{report.first_bad}: {report.reason}")


if __name__ == "__main__":
    try:
        read_and_query()
        with tempfile.TemporaryDirectory() as temporary:
            catch_a_forger(Path(temporary))
    except AuthorityKernelError as error:
        print(f"❌ {type(error).__name__}: {error}")
        sys.exit(1)
