"""Tools: calls, results, failures, registration."""

import json
import pathlib
from typing import Any, Callable

import pytest

from authority_nanos import (
    AuthorityKernel,
    AuthorityKernelError,
    InvalidArgumentError,
    NotFoundError,
    ToolCall,
    ToolError,
)


@pytest.mark.parametrize(
    "tool, args, result",
    [
        ("add", b'{"a": 5, "b": 3}', b'{"result":8}'),
        ("add", '{"a": 5, "b": 3}', b'{"result":8}'),
        ("add", {"a": 5, "b": 3}, b'{"result":8}'),
        ("add", {"a": -5, "b": 2}, b'{"result":-3}'),
        ("add", {"a": 0.5, "b": 2}, b'{"result":2.5}'),
        ("add", {"a": 2**53, "b": 1}, b'{"result":9007199254740993}'),
        ("concat", {"str1": "Hello, ", "str2": "World!"}, b'{"result":"Hello, World!"}'),
        ("concat", {"str1": '"\\', "str2": "\u00e9\n"}, '{"result":"\\"\\\\\u00e9\\n"}'.encode()),
    ],
)
def test_tools_give_their_results(ak: AuthorityKernel, tool: str, args: Any, result: bytes) -> None:
    assert ak.tool_call(tool, args) == result
    assert ak.tool_call(ToolCall(tool, args)) == result
    if isinstance(args, dict):
        assert ak.call_tool(tool, args) == json.loads(result)


@pytest.mark.parametrize(
    "args",
    [{}, {"a": 1}, {"a": 1, "b": "2"}, {"a": 1, "b": None}, {"a": 1, "b": 2, "c": 3}, [1, 2], 1, b"null"],
)
def test_wrong_arguments_fail_in_the_tool(ak: AuthorityKernel, args: Any) -> None:
    with pytest.raises(ToolError) as raised:
        ak.tool_call("add", args)
    assert "add" in str(raised.value)
    assert ak.call_tool("add", {"a": 1, "b": 2}) == {"result": 3}


@pytest.mark.parametrize("args", [b"{not json", b"", b"\xff", "a=1", b"[" * 10_000, b'{"a": 1, "a": 2, "b": 3}'])
def test_arguments_that_are_not_json_are_refused(ak: AuthorityKernel, args: bytes) -> None:
    before = ak.budget_status("tool_calls")["used"]
    with pytest.raises(InvalidArgumentError):
        ak.tool_call("add", args)
    assert ak.budget_status("tool_calls")["used"] == before


def test_an_unknown_tool_raises(ak: AuthorityKernel, denied: Callable[..., Any]) -> None:
    denied(lambda: ak.tool_call("no_such_tool", {}))
    ak.load_policy(text='[tools]\nallow = ["*"]')
    with pytest.raises(NotFoundError):
        ak.tool_call("no_such_tool", {})
    with pytest.raises(NotFoundError):
        ak.tool_call("add@99.0.0", {"a": 1, "b": 2})


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_malformed_tool_names_are_refused(ak: AuthorityKernel, name: str) -> None:
    with pytest.raises(AuthorityKernelError):
        ak.tool_call(name, {})


def test_tool_call_takes_names_and_tool_calls(ak: AuthorityKernel) -> None:
    for call in (lambda: ak.tool_call("add"), lambda: ak.tool_call(ToolCall("add"), {}), lambda: ak.tool_call(5, {})):
        with pytest.raises(TypeError):
            call()  # type: ignore[no-untyped-call]


def test_list_tools_gives_manifests(ak: AuthorityKernel) -> None:
    names = {tool["manifest"]["name"] for tool in ak.list_tools()}
    assert {"add", "concat"} <= names


# A native tool that returns {"result":42} for any arguments:
# (module (memory (export "memory") 1) (data (i32.const 0) "{\"result\":42}")
#   (func (export "ak_alloc") (param i32) (result i32) (i32.const 1024))
#   (func (export "ak_run") (param i32 i32) (result i64) (i64.const 13)))
MODULE = b"".join(
    [
        b"\0asm\x01\0\0\0",
        bytes.fromhex("010c 02 60017f017f 60027f7f017e"),
        bytes.fromhex("0303 02 00 01"),
        bytes.fromhex("0503 01 0001"),
        b"\x07\x1e\x03" + b"\x06memory\x02\0" + b"\x08ak_alloc\0\0" + b"\x06ak_run\0\x01",
        bytes.fromhex("0a0c 02 05004180080b 0400420d0b"),
        b"\x0b\x13\x01\0\x41\0\x0b\x0d" + b'{"result":42}',
    ]
)


def test_a_tool_is_registered(ak: AuthorityKernel) -> None:
    import hashlib

    digest = hashlib.sha256(MODULE).hexdigest()
    manifest = f'name = "answer"\nversion = "1.0.0"\ndescription = "gives 42"\nabi = "native"\nsha256 = "{digest}"'
    ak.register_tool(manifest, MODULE)
    ak.load_policy(text='[tools]\nallow = ["answer"]')
    assert ak.call_tool("answer", {}) == {"result": 42}


@pytest.mark.parametrize("manifest", ["", "not toml", {}, {"name": "x"}, 'name = "x"\nunknown = 1'])
def test_an_invalid_manifest_is_refused(ak: AuthorityKernel, manifest: Any) -> None:
    before = ak.list_tools()
    with pytest.raises(InvalidArgumentError):
        ak.register_tool(manifest, MODULE)
    assert ak.list_tools() == before


EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples" / "tools"


def test_a_tool_reaches_what_its_manifest_and_its_agents_policy_permit(ak: AuthorityKernel, tmp_path: pathlib.Path) -> None:
    """`note`, written in Zig, asks for `fs_write` and waits for the kernel's decision."""
    manifest = (EXAMPLES / "note" / "note.toml").read_text().replace("/notes/", f"{tmp_path}/notes/")
    ak.register_tool(manifest, (EXAMPLES / "note" / "note.wasm").read_bytes())
    (tmp_path / "notes").mkdir()
    ak.load_policy(text=f'[tools]\nallow = ["note"]\n[fs]\nwrite = ["{tmp_path}/**"]')
    args = {"path": f"{tmp_path}/notes/n.txt", "text": "hello"}
    assert ak.call_tool("note", args) == {"bytes": 5}
    assert (tmp_path / "notes" / "n.txt").read_text() == "hello"

    # The policy permits the agent this path, but the tool's manifest does not name it.
    with pytest.raises(ToolError, match="CAP_SCOPE"):
        ak.call_tool("note", {"path": f"{tmp_path}/elsewhere.txt", "text": "x"})
    # The tool's manifest names this path, but the policy does not permit it to the agent.
    ak.load_policy(text='[tools]\nallow = ["note"]')
    with pytest.raises(ToolError, match="POLICY_DENY"):
        ak.call_tool("note", args)
    assert not (tmp_path / "elsewhere.txt").exists()
    assert (tmp_path / "notes" / "n.txt").read_text() == "hello"
    assert ak.audit_verify().consistent
    asked = [entry for entry in map(json.loads, ak.audit_query()) if entry.get("by_tool") == "note@1.0.0"]
    assert [entry["decision"] for entry in asked] == ["permit", "default_deny", "default_deny"]
