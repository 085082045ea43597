"""Heap objects: content, patches, queries, batches, types."""

import asyncio
import json
import pickle
from typing import Any, List

import pytest

from authority_nanos import (
    AsyncAuthorityKernel,
    AuthorityKernel,
    BudgetExceededError,
    ConflictError,
    ErrorCode,
    Handle,
    InvalidArgumentError,
    NotFoundError,
    OperationDeniedError,
    PatchTestFailedError,
    SchemaError,
)

DEEP = 10_000
HUGE = 100 << 20


@pytest.mark.parametrize(
    "value, kept",
    [
        (b'{"value": 0}', b'{"value":0}'),
        ('{"b": 1, "a": [1.0, 1, -2]}', b'{"b":1,"a":[1.0,1,-2]}'),
        ({"z": None, "a": (True, "\u00e9")}, '{"z":null,"a":[true,"\u00e9"]}'.encode()),
        (bytearray(b"[1 , 2]"), b"[1,2]"),
        (memoryview(b"[1 , 2]"), b"[1,2]"),
        (2**64 - 1, b"18446744073709551615"),
        (-(2**63), b"-9223372036854775808"),
        (None, b"null"),
        (b"data", b"data"),
        ("not json", b"not json"),
        (b"\xff\x00", b"\xff\x00"),
        (b"", b""),
    ],
)
def test_an_allocated_object_is_read_back(ak: AuthorityKernel, value: Any, kept: bytes) -> None:
    handle = ak.alloc("thing", value)
    assert ak.read(handle) == kept
    stat = ak.stat(handle)
    assert (stat["type"], stat["version"], stat["size"]) == ("thing", 0, len(kept))


def test_without_a_value_an_object_is_empty(ak: AuthorityKernel) -> None:
    assert ak.read(ak.alloc("thing")) == b""


def test_read_json_parses(ak: AuthorityKernel) -> None:
    value = {"a": [1, 1.5, None, True, "x"], "n": 2**64 - 1}
    read = ak.read_json(ak.alloc("thing", value))
    assert read == value and list(read) == ["a", "n"]
    with pytest.raises(InvalidArgumentError):
        ak.read_json(ak.alloc("thing", b"raw"))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"[" * DEEP + b"]" * DEEP, id="deep json"),
        pytest.param(b'"' + b"x" * HUGE + b'"', id="huge json"),
        pytest.param(b"x" * HUGE, id="huge raw"),
        pytest.param({"x": "x" * HUGE}, id="huge object"),
        pytest.param('{"a": 1, "a": 2}', id="duplicate member"),
        pytest.param(b"18446744073709551616", id="integer beyond 64 bits"),
        pytest.param(2**64, id="int beyond 64 bits"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param("\ud800", id="lone surrogate"),
        pytest.param({"\ud800": 1}, id="lone surrogate in a name"),
    ],
)
def test_json_beyond_a_limit_is_refused(ak: AuthorityKernel, value: Any) -> None:
    before = ak.budget_status("memory")["used"], ak.budget_status("heap_objects")["used"]
    with pytest.raises(InvalidArgumentError):
        ak.alloc("thing", value)
    assert before == (ak.budget_status("memory")["used"], ak.budget_status("heap_objects")["used"])


def test_deep_objects_are_refused(ak: AuthorityKernel) -> None:
    deep: List[Any] = []
    for _ in range(DEEP):
        deep = [deep]
    endless: List[Any] = []
    endless.append(endless)
    for value in (deep, endless):
        with pytest.raises(InvalidArgumentError):
            ak.alloc("thing", value)


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": {1, 2}}, 1j])
def test_values_that_are_not_json_are_type_errors(ak: AuthorityKernel, value: Any) -> None:
    with pytest.raises(TypeError):
        ak.alloc("thing", value)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_malformed_type_names_are_refused(ak: AuthorityKernel, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.alloc(name, b"{}")


def test_versions_rise_with_each_write(ak: AuthorityKernel) -> None:
    handle = ak.alloc("counter", {"value": 0})
    for version, patch in enumerate(
        [
            b'[{"op": "replace", "path": "/value", "value": 1}]',
            '[{"op": "add", "path": "/list", "value": [1]}]',
            [{"op": "add", "path": "/list/-", "value": 2}],
            [{"op": "copy", "from": "/list", "path": "/copy"}, {"op": "move", "from": "/copy", "path": "/moved"}],
            [{"op": "test", "path": "/moved", "value": [1, 2]}, {"op": "remove", "path": "/moved"}],
        ],
        start=1,
    ):
        assert ak.write(handle, patch, expected_version=version - 1) == version
    assert ak.read_json(handle) == {"value": 1, "list": [1, 2]}
    assert ak.read(handle, 0) == b'{"value":0}' and ak.read_json(handle, version=2)["list"] == [1]
    with pytest.raises(NotFoundError):
        ak.read(handle, 6)


@pytest.mark.parametrize(
    "patch, error",
    [
        (b"not json", InvalidArgumentError),
        (b"[" * DEEP + b"]" * DEEP, InvalidArgumentError),
        (b"{}", InvalidArgumentError),
        (b'[{"op": "frobnicate", "path": ""}]', InvalidArgumentError),
        (b'[{"op": "replace", "path": "value", "value": 1}]', InvalidArgumentError),
        (b'[{"op": "replace", "path": "/value"}]', InvalidArgumentError),
        (b'[{"op": "replace", "path": "/missing", "value": 1}]', InvalidArgumentError),
        (b'[{"op": "remove", "path": "/missing"}]', InvalidArgumentError),
        (b'[{"op": "remove", "path": "/value"}, {"op": "remove", "path": "/value"}]', InvalidArgumentError),
        (b'[{"op": "test", "path": "/value", "value": 1}]', PatchTestFailedError),
        (b'[{"op": "remove", "path": "/value"}, {"op": "test", "path": "", "value": 1}]', PatchTestFailedError),
    ],
)
def test_a_refused_patch_changes_nothing(ak: AuthorityKernel, patch: bytes, error: type) -> None:
    handle = ak.alloc("counter", {"value": 0})
    with pytest.raises(error):
        ak.write(handle, patch)
    assert (ak.read(handle), ak.stat(handle)["version"]) == (b'{"value":0}', 0)


def test_a_stale_version_conflicts(ak: AuthorityKernel) -> None:
    handle = ak.alloc("counter", {"value": 0})
    patch = [{"op": "replace", "path": "/value", "value": 1}]
    ak.write(handle, patch)
    for stale in (0, 2):
        with pytest.raises(ConflictError) as raised:
            ak.write(handle, patch, expected_version=stale)
        assert raised.value.context["expected"] == stale and raised.value.context["actual"] == 1
        with pytest.raises(ConflictError):
            ak.delete(handle, expected_version=stale)
    ak.delete(handle, expected_version=1)


@pytest.mark.parametrize("version", [-1, 2**64])
def test_versions_outside_64_bits_are_refused(ak: AuthorityKernel, version: int) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.write(ak.alloc("thing", {}), b"[]", expected_version=version)


def test_handles_have_a_text(ak: AuthorityKernel) -> None:
    handle = ak.alloc("thing", {"a": 1})
    text = str(handle)
    assert text.startswith("0x") and int(text, 16) == int(handle)
    assert Handle.parse(text) == handle == Handle.parse(int(handle)) and hash(Handle.parse(text)) == hash(handle)
    assert pickle.loads(pickle.dumps(handle)) == handle
    for same in (handle, text, int(handle)):
        assert ak.read(same) == b'{"a":1}'
    assert json.loads(ak.audit_query(event_type="read", limit=1)[0])["handle_id"] == text


@pytest.mark.parametrize("handle", ["", "0x", "1x0", "0x1ffffffffffffffff", -1, 2**64])
def test_malformed_handles_are_refused(ak: AuthorityKernel, handle: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.read(handle)


@pytest.mark.parametrize("handle", [None, 1.5, b"0x1"])
def test_handles_of_a_wrong_type_are_type_errors(ak: AuthorityKernel, handle: Any) -> None:
    with pytest.raises(TypeError):
        ak.read(handle)


def test_unknown_and_deleted_handles_are_not_found(ak: AuthorityKernel) -> None:
    gone = ak.alloc("thing", {})
    ak.delete(gone)
    ak.alloc("thing", {})
    for handle in (gone, "0x7fffffff00000001", 0):
        for call in (ak.read, ak.read_json, ak.stat, ak.delete, lambda each: ak.write(each, b"[]")):
            with pytest.raises(NotFoundError) as raised:
                call(handle)
            assert raised.value.code == ErrorCode.NOT_FOUND


def test_a_query_finds_matching_objects(ak: AuthorityKernel) -> None:
    users = [ak.alloc("user", {"name": name, "age": age}) for name, age in [("a", 30), ("b", 10), ("c", 20)]]
    ak.alloc("blob", b"\xff")
    found = ak.query("user", {"/age": {">=": 15}}, order={"pointer": "/age"})
    assert [each["handle"] for each in found["objects"]] == [users[2], users[0]] and found["cursor"] is None
    assert found["objects"][0]["value"] == {"name": "c", "age": 20}
    assert {name: found["objects"][0][name] for name in ("type", "version", "size", "owner")} == {
        "type": "user", "version": 0, "size": 21, "owner": "main",
    }
    assert ak.query(type="blob")["objects"][0]["value"] == b"\xff"
    assert len(ak.query()["objects"]) == 4 and ak.query("nothing")["objects"] == []
    assert [each["handle"] for each in ak.query(where=b'{"/name": "b"}')["objects"]] == [users[1]]
    ak.alloc("link", {"to": users[1]})
    assert len(ak.query("link", {"/to": users[1]})["objects"]) == 1


def test_a_query_gives_pages(ak: AuthorityKernel) -> None:
    handles = [ak.alloc("n", number) for number in range(7)]
    seen, cursor = [], None
    while True:
        page = ak.query("n", limit=3, cursor=cursor, order={"pointer": "", "descending": True})
        seen += [each["handle"] for each in page["objects"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == handles[::-1]


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": -1}, {"cursor": "x"}, {"where": []}, {"where": {"a": 1}}, {"where": "{"}, {"typo": 1}],
)
def test_queries_of_a_wrong_form_are_refused(ak: AuthorityKernel, query: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.query(**query)


def test_an_agent_finds_its_own_objects(ak: AuthorityKernel) -> None:
    secret = ak.alloc("note", "mine")
    worker = ak.agent("worker")
    own = worker.alloc("note", "its")
    assert [each["handle"] for each in worker.query("note")["objects"]] == [own]
    assert worker.query(owner="main")["objects"] == []
    assert [each["handle"] for each in ak.query("note")["objects"]] == [secret, own]


def test_a_batch_applies_whole(ak: AuthorityKernel) -> None:
    old = ak.alloc("node", {"a": 1})
    root, leaf, version, none = ak.batch(
        [
            {"op": "alloc", "type": "node", "value": '{"leaf": false}'},
            {"op": "alloc", "type": "node", "value": {"old": old}, "links": {"/parent": 0}},
            {"op": "write", "created": 0, "patch": b'[{"op": "replace", "path": "/leaf", "value": 1}]', "expected_version": 0},
            {"op": "delete", "handle": old},
        ]
    )
    assert isinstance(root, Handle) and isinstance(leaf, Handle) and (version, none) == (1, None)
    assert ak.read_json(root) == {"leaf": 1} and ak.read_json(leaf) == {"old": str(old), "parent": str(root)}
    with pytest.raises(NotFoundError):
        ak.read(old)
    (entry,) = map(json.loads, ak.audit_query(event_type="batch"))
    assert [each["decision"] for each in entry["operations"]] == ["permit"] * 4
    assert ak.batch([]) == [] and ak.read(ak.batch([{"op": "alloc", "type": "raw", "value": b"\xff"}])[0]) == b"\xff"


def test_a_refused_batch_names_the_operation_and_changes_nothing(ak: AuthorityKernel) -> None:
    handle = ak.alloc("counter", {"value": 0})
    new = {"op": "alloc", "type": "counter", "value": {}}
    test = {"op": "write", "handle": handle, "patch": [{"op": "test", "path": "/value", "value": 1}]}
    rows = [
        ([new, {"op": "delete", "handle": handle, "expected_version": 3}], 1, ConflictError),
        ([test, new], 0, PatchTestFailedError),
        ([new, new, {"op": "delete", "handle": "0x7fffffff00000001"}], 2, NotFoundError),
        ([{**new, "type": ""}], 0, InvalidArgumentError),
    ]
    for ops, index, error in rows:
        with pytest.raises(error) as raised:
            ak.batch(ops)
        assert raised.value.context["index"] == index and f"batch operation {index}" in raised.value.message
    ak.set_budget("heap_objects", ak.budget_status("heap_objects")["used"] + 1)
    with pytest.raises(BudgetExceededError) as raised:
        ak.batch([new, new])
    assert raised.value.context["index"] == 1
    ak.set_budget("heap_objects", None)
    assert len(ak.query("counter")["objects"]) == 1 and ak.read(handle) == b'{"value":0}'


@pytest.mark.parametrize(
    "ops", [[{}], [{"op": "read", "handle": 1}], [{"op": "delete"}], [{"op": "delete", "handle": 1, "typo": 1}]]
)
def test_batches_of_a_wrong_form_are_refused(ak: AuthorityKernel, ops: List[Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.batch(ops)
    for wrong in (7, [7], [None]):
        with pytest.raises(TypeError):
            ak.batch(wrong)  # type: ignore[arg-type]


def test_objects_of_a_registered_type_are_checked(ak: AuthorityKernel) -> None:
    ak.register_type("user", {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}})
    user = ak.alloc("user", {"age": 1})
    for call in (
        lambda: ak.alloc("user", {"age": -1}),
        lambda: ak.write(user, [{"op": "replace", "path": "/age", "value": -1}]),
    ):
        with pytest.raises(SchemaError) as raised:
            call()
        assert raised.value.code == ErrorCode.SCHEMA_INVALID
        assert (raised.value.context["path"], raised.value.context["keyword"]) == ("/age", "minimum")
    with pytest.raises(SchemaError):
        ak.alloc("user", b"raw")
    with pytest.raises(SchemaError) as raised:
        ak.register_type("mail", b'{"$ref": "https://a.example/mail.json"}')
    assert (raised.value.code, raised.value.context["keyword"]) == (ErrorCode.SCHEMA_UNKNOWN, "$ref")
    ak.register_type("mail", b'{"type": "string", "format": "email"}')
    worker = ak.agent("worker")
    worker.register_type("task", {"type": "object"})
    worker.register_type("user", True)  # binds the worker's own family, besides the owner's schema
    with pytest.raises(SchemaError):
        worker.alloc("user", {"age": -1})
    ak.alloc("task", "of the owner's, whom the worker's schema does not bind")
    worker.unregister_type("task")
    worker.alloc("task", "anything")
    with pytest.raises(NotFoundError):
        worker.unregister_type("task")


def test_heap_methods_work_in_asyncio(form: str) -> None:
    async def main() -> Any:
        async with AsyncAuthorityKernel() as ak:
            await ak.register_type("n", {"type": "integer"})
            (handle,) = await ak.batch([{"op": "alloc", "type": "n", "value": 7}])
            return handle, (await ak.query("n"))["objects"][0]["handle"]

    first, second = asyncio.run(main())
    assert first == second
