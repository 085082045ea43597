"""Policy and authorization: the baseline, denials, and operations of the owner."""

from pathlib import Path
from typing import Any, Callable

import pytest

from authority_nanos import (
    AuthorityKernel,
    ErrorCode,
    InvalidArgumentError,
    LibakError,
    NotFoundError,
    OperationDeniedError,
    RateLimitError,
)


@pytest.mark.parametrize("operation", ["no such operation", "", "wirte"])
def test_an_operation_that_does_not_exist_is_an_error(ak: AuthorityKernel, operation: str) -> None:
    for ask in (ak.authorize, ak.authorize_details):
        with pytest.raises(InvalidArgumentError, match="is no operation"):
            ask(operation, "/x")


@pytest.mark.parametrize(
    "operation, target, permitted",
    [
        ("execute", "add", True),
        ("execute", "tool:concat", True),
        ("execute", "shell_exec", False),
        ("read", "/etc/passwd", False),
        ("read", "/etc/../etc/passwd", False),
        ("http.get", "https://example.com/", False),
        ("http", "https://example.com/", False),
        ("infer", "gpt-4", False),
        ("read", "", False),
        ("read", "/a\0b", False),
        ("read", "\ud800", False),
        ("http.get", "https://exa mple.com/", False),
        ("execute", "", False),
    ],
)
def test_baseline_permits_nothing_outside(ak: AuthorityKernel, operation: str, target: str, permitted: bool) -> None:
    assert ak.authorize(operation, target) is permitted
    details = ak.authorize_details(operation, target)
    assert (details.authorized, details.operation) == (permitted, operation)
    assert details.reason


def test_the_baseline_permits_own_objects(ak: AuthorityKernel) -> None:
    handle = ak.alloc("thing", {})
    assert ak.authorize("read", handle) and ak.authorize("write", str(handle))


def test_authorize_consumes_only_compute(ak: AuthorityKernel) -> None:
    before = ak.budget_status()
    for _ in range(3):
        assert ak.authorize("execute", "add", {"a": 1, "b": 2})
    after = ak.budget_status()
    used = {kind: after[kind]["used"] - before[kind]["used"] for kind in after if kind != "wall_time_ms"}
    assert used.pop("compute") == 4 and set(used.values()) == {0}


def test_a_denial_suggests_a_rule_that_permits_the_request(ak: AuthorityKernel, denied: Callable[..., Any], tmp_path: Path) -> None:
    assert ak.get_last_denial() is None
    path = tmp_path.resolve() / 'odd "name" [*]'
    path.write_text("secret")
    denial = denied(lambda: ak.file_read(path))
    assert (denial.op, denial.target, denial.code) == ("fs.read", str(path), ErrorCode.POLICY_DENY)
    assert denial.operation == denial.op and denial.suggestion == denial.suggested_snippet
    assert ak.get_last_denial() == denial
    assert denial.suggestion is not None and denial.suggestion.startswith("[[rule]]\n")
    ak.load_policy(text=denial.suggestion)
    assert ak.file_read(path) == b"secret"
    denied(lambda: ak.file_read(f"{path}x"))


def test_authorize_sets_the_last_denial(ak: AuthorityKernel) -> None:
    assert not ak.authorize("read", "/etc/shadow")
    denial = ak.get_last_denial()
    assert denial is not None and denial.target == "/etc/shadow" and denial.reason


@pytest.mark.parametrize(
    "text, line",
    [
        ('[fs]\nraed = ["/**"]', 2),
        ('[fs]\nread = "/**"\n[fs]', 3),
        ("[fs", 1),
        ('[budgets]\ntokens = "many"', 2),
        ('[[rule]]\nid = "x"\neffect = "allow"', 3),
        ('[net]\nconnect = ["ip:10.0.0.0/99:80"]', 2),
        ('version = "7.0"', 1),
    ],
)
def test_a_policy_with_an_error_changes_nothing(ak: AuthorityKernel, text: str, line: int) -> None:
    ak.load_policy(text='[tools]\nallow = ["only_this"]')
    with pytest.raises(InvalidArgumentError) as raised:
        ak.load_policy(text=text)
    assert raised.value.code == ErrorCode.POLICY_INVALID
    assert raised.value.context["line"] == line, raised.value
    assert ak.authorize("execute", "only_this")


def test_a_policy_file_is_read_by_the_client(
    ak: AuthorityKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    (tmp_path / "policy.toml").write_text('[fs]\nread = ["./data/**"]')
    ak.load_policy(tmp_path / "policy.toml")
    assert ak.file_read(tmp_path.resolve() / "data" / "a.txt") == b"a"
    monkeypatch.chdir(tmp_path)
    ak.load_policy("policy.toml")
    assert ak.file_read("data/a.txt") == b"a"


def test_a_json_policy_is_read_too(ak: AuthorityKernel) -> None:
    ak.load_policy(text='{"profiles": [], "tools": {"allow": ["concat"]}}')
    assert ak.authorize("execute", "concat") and not ak.authorize("execute", "add")


def test_load_policy_needs_one_source(ak: AuthorityKernel, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.load_policy()
    with pytest.raises(InvalidArgumentError):
        ak.load_policy(tmp_path, text="")
    with pytest.raises(NotFoundError):
        ak.load_policy(tmp_path / "missing.toml")
    (tmp_path / "latin1.toml").write_bytes(b"# \xff")
    with pytest.raises((InvalidArgumentError, LibakError)):
        ak.load_policy(tmp_path / "latin1.toml")


def test_a_capability_has_a_clock_and_a_rate(ak: AuthorityKernel, denied: Callable[..., Any]) -> None:
    ak.load_policy(text="profiles = []")
    denied(lambda: ak.tool_call("add", {"a": 1, "b": 2}))
    grant = '[[capability]]\nname = "add"\nresource = "*"\nmethods = ["execute"]\nexpires_minutes = 60\nrate = "2/min"'
    ak.load_policy(text=f"profiles = []\n{grant}")
    for _ in range(2):
        ak.tool_call("add", {"a": 1, "b": 2})
    with pytest.raises(RateLimitError) as raised:
        ak.tool_call("add", {"a": 1, "b": 2})
    assert 0 < raised.value.retry_after_ms <= 60_000
    denied(lambda: ak.tool_call("concat", {"str1": "a", "str2": "b"}))


OWNER_ONLY = {
    "load_policy": lambda agent: agent.load_policy(text=""),
    "audit_verify": lambda agent: agent.audit_verify(),
    "register_tool": lambda agent: agent.register_tool('name = "x"', b""),
    "agent": lambda agent: agent.agent("another"),
}


@pytest.mark.parametrize("name", OWNER_ONLY)
def test_owner_operations_are_denied_to_agents(ak: AuthorityKernel, name: str) -> None:
    ak.load_policy(text='[[rule]]\nid = "all"\neffect = "permit"\noperation = "*"\ntarget = "*"')
    agent = ak.agent("worker")
    assert ak.is_owner and not agent.is_owner
    with pytest.raises(OperationDeniedError):
        OWNER_ONLY[name](agent)


def test_an_agent_is_told_only_the_class_of_reason(ak: AuthorityKernel, denied: Callable[..., Any]) -> None:
    agent = ak.agent("worker")
    denial = denied(lambda: agent.file_read("/etc/passwd"))
    assert denial.suggestion is None and denial.capability_required is None and denial.rule_id == ""
    assert denial.trace_id


def test_agents_do_not_see_each_other(ak: AuthorityKernel) -> None:
    one, two = ak.agent("one"), ak.agent("two")
    handle = one.alloc("secret", {"a": 1})
    for call in (two.read, two.stat, two.delete):
        with pytest.raises(NotFoundError):
            call(handle)
    assert one.read_json(handle) == ak.read_json(handle) == {"a": 1}
    assert {b"two"} >= {entry for entry in two.audit_query(actor="one")}


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 10_000])
def test_malformed_agent_names_are_refused(ak: AuthorityKernel, name: str) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.agent(name)


def test_a_policy_includes_files_and_no_agent_reaches_them(ak: AuthorityKernel, tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "inc.toml").write_text(f'[fs]\nread = ["{root}/**"]\nwrite = ["{root}/**"]\n')
    (root / "policy.toml").write_text('profiles = ["baseline", "./inc.toml"]\n')
    ak.load_policy(str(root / "policy.toml"))
    ak.file_write(str(root / "notes.txt"), b"hello")
    for name in ("inc.toml", "policy.toml"):
        with pytest.raises(OperationDeniedError):
            ak.file_write(str(root / name), b"")
    (root / "policy.toml").write_text('profiles = ["./none.toml"]\n')
    with pytest.raises(NotFoundError, match="none.toml"):
        ak.load_policy(str(root / "policy.toml"))


def test_loading_a_policy_returns_warnings_about_its_rules(ak: AuthorityKernel, tmp_path: Path) -> None:
    rule = '[[rule]]\nid = "r"\neffect = "permit"\noperation = "execute"\ntarget = "add"\nonly = ["/a", "/b", "/c"]\n'
    assert ak.load_policy(text=rule + 'when.args."/a" = { max = 10 }') == []
    never = ak.load_policy(text=rule + 'when.args."/c" = { max = 10 }')
    assert [(lint.rule_id, lint.kind) for lint in never] == [("r", "unmeetable")]
    assert str(never[0]) == "'r': never holds for the tool add: it has no argument 'c'"
    file = tmp_path / "policy.toml"
    file.write_text('[http]\nallow = ["GET http://10.0.0.0/8/**"]\n')
    (lint,) = ak.load_policy(file)
    assert (lint.kind, lint.rule_id) == ("address_range", "http.allow:GET http://10.0.0.0/8/**")
    details = ak.authorize_details("http.get", "http://10.0.0.0/8/x")
    assert details.authorized and details.lints == [lint]
    worker = ak.agent("worker").authorize_details("http.get", "http://10.0.0.0/8/x")
    assert worker.authorized and worker.lints == []
    with pytest.raises(InvalidArgumentError):
        ak.load_policy(text="[fs")
