"""Budgets: limits, usage, and requests over a limit."""

import pytest

from authority_nanos import AuthorityKernel, AuthorityKernelError, BudgetExceededError, InvalidArgumentError

KINDS = [
    "memory", "compute", "tokens", "tool_calls", "wall_time_ms", "cpu", "bytes", "heap_objects", "cost_micro_usd",
]  # fmt: skip


def test_budget_status_has_every_kind(ak: AuthorityKernel) -> None:
    assert set(ak.budget_status()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_is_set_and_removed(ak: AuthorityKernel, kind: str) -> None:
    assert ak.budget_status(kind)["limit"] is None
    ak.set_budget(kind, 10_000_000)
    status = ak.budget_status(kind)
    assert status["limit"] == 10_000_000 and 0 <= status["used"] < 10_000_000
    ak.set_budget(kind, None)
    assert ak.budget_status(kind)["limit"] is None


@pytest.mark.parametrize(
    "kind, limit, spend",
    [
        ("memory", 100, lambda ak: ak.alloc("thing", b"x" * 101)),
        ("heap_objects", 0, lambda ak: ak.alloc("thing", b"x")),
        ("tool_calls", 0, lambda ak: ak.tool_call("add", {"a": 1, "b": 2})),
        ("compute", 0, lambda ak: ak.read("0x100000001")),
    ],
)
def test_a_request_over_a_limit_changes_nothing(ak: AuthorityKernel, kind: str, limit: int, spend: object) -> None:
    ak.set_budget(kind, limit)
    with pytest.raises(BudgetExceededError) as raised:
        spend(ak)  # type: ignore[operator]
    assert kind in str(raised.value)
    ak.set_budget(kind, None)
    if kind != "compute":
        spend(ak)  # type: ignore[operator]


def test_deleting_an_object_frees_its_memory_budget(ak: AuthorityKernel) -> None:
    ak.set_budget("heap_objects", 1)
    handle = ak.alloc("thing", b"x")
    with pytest.raises(BudgetExceededError):
        ak.alloc("thing", b"x")
    ak.delete(handle)
    ak.alloc("thing", b"x")


def test_a_policy_sets_budgets(ak: AuthorityKernel) -> None:
    ak.load_policy(text="[budgets]\ntool_calls = 1")
    ak.tool_call("add", {"a": 1, "b": 2})
    with pytest.raises(BudgetExceededError):
        ak.tool_call("add", {"a": 1, "b": 2})


def test_an_agent_only_lowers_its_own_limits(ak: AuthorityKernel) -> None:
    agent = ak.agent("worker")
    ak.set_budget("tool_calls", 10, agent="worker")
    agent.set_budget("tool_calls", 5)
    assert agent.budget_status("tool_calls")["limit"] == 5
    for raise_it in (lambda: agent.set_budget("tool_calls", 6), lambda: agent.set_budget("tool_calls", None)):
        with pytest.raises(AuthorityKernelError):
            raise_it()
    assert agent.budget_status("tool_calls")["limit"] == 5
    assert ak.budget_status("tool_calls")["limit"] is None


@pytest.mark.parametrize("kind, limit", [("no such", 1), ("", 1), ("tokens", -1), ("tokens", 2**64)])
def test_malformed_budgets_are_refused(ak: AuthorityKernel, kind: str, limit: int) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.set_budget(kind, limit)


def test_an_unknown_kind_has_no_status(ak: AuthorityKernel) -> None:
    with pytest.raises(InvalidArgumentError):
        ak.budget_status("no such")
