"""Scripts as people wrote them for the earlier SDK run unchanged."""

import json
from pathlib import Path
from typing import Any

import pytest


def run(script: str, **names: Any) -> None:
    exec(compile(script, "script", "exec"), {"__name__": "__main__", "json": json, **names})


HEAP = '''
import json
from authority_nanos import AuthorityKernel, AuthorityKernelError

with AuthorityKernel() as ak:
    handle = ak.alloc("counter", json.dumps({"value": 0, "name": "counter"}).encode())
    print(f"Allocated {handle}")
    counter = json.loads(ak.read(handle).decode("utf-8"))
    assert counter == {"value": 0, "name": "counter"}
    patch = json.dumps([{"op": "replace", "path": "/value", "value": 42}]).encode()
    assert ak.write(handle, patch) == 1
    assert json.loads(ak.read(handle).decode("utf-8"))["value"] == 42
    ak.delete(handle)
'''

TOOLS = '''
import json
from authority_nanos import AuthorityKernel, ToolCall, AuthorityKernelError

with AuthorityKernel() as ak:
    result = ak.tool_call("add", json.dumps({"a": 5, "b": 3}).encode())
    assert json.loads(result.decode("utf-8")) == {"result": 8}
    result = ak.tool_call("concat", json.dumps({"str1": "Hello, ", "str2": "World!"}).encode())
    assert json.loads(result.decode("utf-8")) == {"result": "Hello, World!"}
'''

AUTHORIZATION = '''
from authority_nanos import AuthorityKernel, OperationDeniedError, AuthorityKernelError

with AuthorityKernel() as ak:
    assert ak.authorize("read", "/etc/config.json") is False
    assert ak.authorize("http.post", "https://api.example.com") is False
    details = ak.authorize_details("write", "/tmp/file.txt")
    assert not details.authorized
    print(f"Need: {details.capability_name}")
    try:
        ak.file_read("/etc/config.json")
        raise SystemExit("it was read")
    except OperationDeniedError as e:
        print(f"Operation denied: {e}")
    try:
        ak.http_request("GET", "https://api.example.com")
        raise SystemExit("it was sent")
    except OperationDeniedError as e:
        print(f"Operation denied: {e}")
    denial = ak.get_last_denial()
    assert denial
    print(f"Denied: {denial.reason}, suggestion: {denial.suggestion}")
'''

INFERENCE = '''
import json
from authority_nanos import AuthorityKernel, AuthorityKernelError

with AuthorityKernel() as ak:
    request = json.dumps({
        "model": "gpt-4",
        "messages": [{"role": "user", "content": "What is 2 + 2?"}],
        "temperature": 0.7,
        "max_tokens": 100
    }).encode()
    try:
        response = ak.inference(request)
        raise SystemExit("a model was asked")
    except AuthorityKernelError as e:
        print(f"expected: {e}")
'''

AUDIT = '''
import json
from authority_nanos import AuthorityKernel, AuthorityKernelError

with AuthorityKernel() as ak:
    handle = ak.alloc("audit_test", json.dumps({"value": 100}).encode())
    ak.read(handle)
    ak.delete(handle)
    ak.audit_log("custom_event", {"action": "example_action", "user": "demo_user"})
    for log_entry in ak.audit_logs()[-5:]:
        entry = json.loads(log_entry.decode("utf-8"))
        print(f"{entry.get('event')} by {entry.get('actor')}")
    results = ak.audit_query(json.dumps({"event_type": "alloc", "limit": 10}).encode())
    assert [json.loads(r.decode("utf-8")).get("type") for r in results] == ["audit_test"]
'''

# The three snippets of the earlier SDK's page.
CUSTOM_POLICY = '''
from authority_nanos import AuthorityKernel

with AuthorityKernel() as ak:
    ak.load_policy("policy.toml")
    # Use policy-controlled operations
'''

BATCH = '''
with AuthorityKernel() as ak:
    handles = []

    # Allocate many objects
    for i in range(100):
        handle = ak.alloc(f"item_{i}", json.dumps({"id": i}).encode())
        handles.append(handle)

    # Process in batches
    for handle in handles:
        data = ak.read(handle)
        # Process...
        ak.delete(handle)
'''

BUDGETS = '''
with AuthorityKernel() as ak:
    try:
        # Set memory budget
        ak.set_budget("memory", 10_000_000)  # 10MB

        # Set compute budget
        ak.set_budget("compute", 1_000_000)  # 1M operations

        # Operations are tracked and limited
        for i in range(1000):
            handle = ak.alloc(f"obj_{i}", b"data")

    except BudgetExceededError:
        print("Budget exceeded - operation denied")
'''

POLICY = """[[capability]]
name = "example_tool"
resource = "*"
methods = ["execute"]
expires_minutes = 60
"""


@pytest.mark.parametrize("script", [HEAP, TOOLS, AUTHORIZATION, INFERENCE, AUDIT, CUSTOM_POLICY, BATCH, BUDGETS])
def test_a_script_for_the_earlier_sdk_runs(form: str, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import authority_nanos

    (tmp_path / "policy.toml").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    run(
        script,
        AuthorityKernel=authority_nanos.AuthorityKernel,
        BudgetExceededError=authority_nanos.BudgetExceededError,
    )


def test_the_documented_capability_permits_its_tool(form: str, tmp_path: Path) -> None:
    from authority_nanos import AuthorityKernel, NotFoundError

    (tmp_path / "policy.toml").write_text(POLICY)
    with AuthorityKernel() as ak:
        assert not ak.authorize("execute", "example_tool")
        ak.load_policy(str(tmp_path / "policy.toml"))
        assert ak.authorize("execute", "example_tool") and ak.authorize("execute", "add")
        with pytest.raises(NotFoundError):
            ak.tool_call("example_tool", b"{}")
