"""A scripted session in the wire form, which every form of the kernel takes. As a program it records the session's
journal: ``session.py STATE_DIR``."""

import sys
from typing import Any, Callable, Dict, List, Tuple

from authority_nanos import AuthorityKernel, EffectRequest, Syscall

POLICY = """
[[rule]]
id = "no-concat"
effect = "forbid"
operation = "execute"
target = "concat"

[budgets]
tool_calls = 10
"""

Call = Callable[[int, Dict[str, Any]], Tuple[int, bytes]]

SESSION: List[Tuple[int, Dict[str, Any]]] = [
    (Syscall.POLICY_LOAD, {"text": POLICY}),
    (Syscall.ALLOC, {"type": "counter", "value": {"value": 0, "name": "counter"}}),
    (Syscall.WRITE, {"handle": "0x100000000", "patch": [{"op": "replace", "path": "/value", "value": 42}]}),
    (Syscall.READ, {"handle": "0x100000000"}),
    (Syscall.WRITE, {"handle": "0x100000000", "patch": [{"op": "remove", "path": "/missing"}]}),
    (Syscall.CALL, {"tool": "add", "args": {"a": 5, "b": 3}}),
    (Syscall.CALL, {"tool": "concat", "args": {"str1": "a", "str2": "b"}}),
    (Syscall.FS_READ, {"path": "/etc/shadow"}),
    (Syscall.AUTHORIZE, {"operation": "http.get", "target": "https://example.com/"}),
    (Syscall.AUDIT_LOG, {"event": "note", "details": {"about": "this session"}}),
    (Syscall.TYPE_REGISTER, {"name": "counter", "schema": {"type": "object"}}),
    (Syscall.BATCH, {"ops": [
        {"op": "alloc", "type": "counter", "value": {}, "links": {"/next": 0}},
    ]}),
    (Syscall.BATCH, {"ops": [
        {"op": "alloc", "type": "counter", "value": {}},
        {"op": "alloc", "type": "list", "bytes": "AAE", "links": []},
        {"op": "write", "created": 0, "patch": [{"op": "add", "path": "/a", "value": 1}], "links": {"/list": 1}},
    ]}),
    (Syscall.QUERY, {"type": "counter", "where": {"/a": {">": 0}}, "order": {"pointer": "/a"}}),
    (Syscall.DELETE, {"handle": "0x100000000"}),
    (Syscall.READ, {"handle": "0x100000000"}),
    (Syscall.BUDGET_STATUS, {"kind": "tool_calls"}),
    (Syscall.AUDIT_VERIFY, {}),
]


def play(call: Call) -> List[Tuple[int, bytes]]:
    """Sends the requests of the session one after the other and returns the replies."""
    return [call(operation, args) for operation, args in SESSION]


def through(ak: AuthorityKernel) -> Call:
    """A kernel of this package as the ``call`` that ``play`` takes."""

    def call(operation: int, args: Dict[str, Any]) -> Tuple[int, bytes]:
        response = ak.syscall(EffectRequest(operation, args))
        return response.err, response.result

    return call


if __name__ == "__main__":
    with AuthorityKernel(state_dir=sys.argv[1]) as kernel:
        play(through(kernel))
