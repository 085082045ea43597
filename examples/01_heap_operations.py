#!/usr/bin/env python3
"""Typed memory: allocate, read, patch (RFC 6902) and delete objects in the kernel's heap.

The heap is the kernel's, not Python's: every access is decided on, recorded and counted against budgets, and an
agent cannot reach another agent's objects.
"""

import json
import sys

from authority_nanos import (
    AuthorityKernel,
    AuthorityKernelError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PatchTestFailedError,
)


def what_is_refused(ak: AuthorityKernel) -> None:
    """A write happens whole or not at all, and only to what it expects."""
    handle = ak.alloc("account", {"owner": "alice", "balance": 10})
    deposit = [{"op": "replace", "path": "/balance", "value": 42}]
    ak.write(handle, deposit, expected_version=0)
    try:
        ak.write(handle, deposit, expected_version=0)
    except ConflictError as error:
        print(f"ℹ️  Somebody was faster: {error}")
    try:
        ak.write(handle, [{"op": "remove", "path": "/owner"}, {"op": "test", "path": "/balance", "value": 41}])
    except PatchTestFailedError as error:
        print(f"ℹ️  Patch refused as a whole: {error}")
    try:
        ak.write(handle, [{"op": "replace", "path": "/no/such/member", "value": 1}])
    except InvalidArgumentError as error:
        print(f"ℹ️  Patch refused: {error}")
    assert ak.read_json(handle) == {"owner": "alice", "balance": 42}
    ak.delete(handle)


def main() -> int:
    with AuthorityKernel() as ak:
        print("✅ Connected to Authority Kernel")

        handle = ak.alloc("counter", json.dumps({"value": 0, "name": "counter"}).encode())
        print(f"✅ Allocated counter with handle: {handle}")
        print(f"✅ Read counter: {json.loads(ak.read(handle))}")

        patch = json.dumps([{"op": "replace", "path": "/value", "value": 42}]).encode()
        version = ak.write(handle, patch)
        print(f"✅ Updated counter to version: {version}")
        print(f"✅ Updated counter: {json.loads(ak.read(handle))}")

        ak.delete(handle)
        print("✅ Deleted counter handle")
        try:
            ak.read(handle)
        except NotFoundError as error:
            print(f"ℹ️  A deleted object is gone: {error}")

        what_is_refused(ak)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AuthorityKernelError as error:
        print(f"❌ {type(error).__name__}: {error}")
        sys.exit(1)
