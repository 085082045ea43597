"""Heap objects: what they hold, how they change, and what is refused."""

import json
import pickle
from typing import Any, List

import pytest

from authority_nanos import (
    AuthorityKernel,
    ConflictError,
    ErrorCode,
    Handle,
    InvalidArgumentError,
    NotFoundError,
    PatchTestFailedError,
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
def test_what_is_allocated_is_read(ak: AuthorityKernel, value: Any, kept: bytes) -> None:
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
def test_what_is_not_json_is_a_type_error(ak: AuthorityKernel, value: Any) -> None:
    with pytest.raises(TypeError):
        ak.alloc("thing", value)


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_bad_type_names_are_refused(ak: AuthorityKernel, name: str) -> None:
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
def test_versions_are_counts(ak: AuthorityKernel, version: int) -> None:
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
def test_what_is_no_handle_is_refused(ak: AuthorityKernel, handle: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.read(handle)


@pytest.mark.parametrize("handle", [None, 1.5, b"0x1"])
def test_handles_of_another_type_are_type_errors(ak: AuthorityKernel, handle: Any) -> None:
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
