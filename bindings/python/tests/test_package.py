"""The package itself: the kernel's tables, the exceptions, the stubs, the documentation."""

import ast
import builtins
import inspect
import pickle
import re
from pathlib import Path
from typing import Any, Dict, Set

import pytest

import authority_nanos
from authority_nanos import _native, aio, exceptions, tables, types

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PACKAGE = Path(authority_nanos.__file__).parent


def test_the_enums_are_the_kernels_tables() -> None:
    codes = {name: number for name, number, _ in _native.codes()}
    assert {code.name: code.value for code in authority_nanos.ErrorCode} == {"OK": 0, **codes}
    assert {call.name: call.value for call in authority_nanos.Syscall} == dict(_native.operations())


def test_every_exception_of_the_table_is_exported_and_raised_for_a_code() -> None:
    named = {exception for _, _, exception in _native.codes()}
    assert named | {"AuthorityKernelError"} == set(exceptions.__all__)
    for name in named:
        assert issubclass(getattr(authority_nanos, name), authority_nanos.AuthorityKernelError)


@pytest.mark.parametrize(
    "child, parent",
    [
        ("ApprovalRequiredError", "OperationDeniedError"),
        ("TaintError", "OperationDeniedError"),
        ("RateLimitError", "BudgetExceededError"),
        ("SchemaError", "InvalidArgumentError"),
        ("PatchTestFailedError", "InvalidArgumentError"),
    ],
)
def test_exceptions_have_their_parents(child: str, parent: str) -> None:
    assert issubclass(getattr(authority_nanos, child), getattr(authority_nanos, parent))
    assert issubclass(authority_nanos.TimeoutError, builtins.TimeoutError)


@pytest.mark.parametrize("name", exceptions.__all__)
def test_an_exception_carries_code_message_context(name: str) -> None:
    error = getattr(authority_nanos, name)(-4200, "a message", {"retry_after_ms": 5, "approval_id": "7"})
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert (same.code, same.message, same.context["approval_id"], str(same)) == (-4200, "a message", "7", "a message")
        assert getattr(same, "retry_after_ms", 5) == 5 and getattr(same, "approval_id", "7") == "7"
    assert getattr(authority_nanos, name)(-1).context == {}


def test_exported_names_exist() -> None:
    assert authority_nanos.__all__ == sorted(authority_nanos.__all__)
    for name in authority_nanos.__all__:
        assert getattr(authority_nanos, name)
    assert (PACKAGE / "py.typed").exists()


def public(names: Any) -> Set[str]:
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("module", [_native, aio, tables])
def test_the_stubs_match_the_classes(module: Any) -> None:
    tree = ast.parse((PACKAGE / f"{module.__name__.rpartition('.')[2]}.pyi").read_text())
    stubs: Dict[str, Any] = {
        node.name: node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    }
    is_ours = lambda value: getattr(value, "__module__", "").startswith("authority_nanos") or module is _native  # noqa: E731
    runtime = {name for name in public(vars(module)) if is_ours(getattr(module, name))}
    assert public(stubs) == runtime - ({"AuthorityKernel", "Capability", "InferenceStream"} if module is aio else set())
    for name, stub in stubs.items():
        if isinstance(stub, ast.ClassDef):
            members = {node.name for node in stub.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
            members |= {node.targets[0].id for node in stub.body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
            assert public(members) == public(vars(getattr(module, name)) if module is not tables else getattr(module, name).__members__), name


@pytest.mark.parametrize("name", sorted(public(vars(_native.AuthorityKernel))))
def test_the_stubs_match_the_signatures(name: str) -> None:
    method = getattr(_native.AuthorityKernel, name)
    if not callable(method):
        return
    tree = ast.parse((PACKAGE / "_native.pyi").read_text())
    (kernel,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "AuthorityKernel"]
    (stub,) = [node for node in kernel.body if isinstance(node, ast.FunctionDef) and node.name == name]
    taken = [each.arg for each in (*stub.args.args, *stub.args.kwonlyargs)]
    taken += [each.arg for each in (stub.args.vararg, stub.args.kwarg) if each]
    assert taken == list(inspect.signature(method).parameters)
    assert method.__doc__, "a method says what it does"
    assert hasattr(authority_nanos.AsyncAuthorityKernel, name)


def test_the_reference_names_every_method_and_exception() -> None:
    reference = (ROOT / "docs" / "api" / "index.md").read_text()
    for name in public(vars(_native.AuthorityKernel)):
        assert f"`{name}" in reference, name
    for name in (*exceptions.__all__, *types.__all__):
        assert f"`{name}" in reference, name
    for name, number, exception in _native.codes():
        assert re.search(rf"\| {number} \| `{name}` \| `{exception}` \|".replace("-", "[-\u2212]"), reference), name


def test_an_exception_may_be_raised_with_a_message_alone() -> None:
    error = authority_nanos.AuthorityKernelError("m")
    assert (error.code, error.message, str(error)) == (0, "m", "m")
