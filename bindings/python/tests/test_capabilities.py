"""Capabilities: granting, presenting, attenuating, revoking."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from authority_nanos import (
    AsyncAuthorityKernel,
    AuthorityKernel,
    BudgetExceededError,
    Capability,
    CapabilityError,
    ErrorCode,
    InvalidArgumentError,
    OperationDeniedError,
    RateLimitError,
)


@pytest.fixture
def files(ak: AuthorityKernel, tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    ak.load_policy(text=f'[fs]\nread = ["{tmp_path.resolve()}/**"]\n[tools]\nallow = ["add"]')
    return tmp_path.resolve()


def refused(kind: Any, code: ErrorCode, session: AuthorityKernel, path: Path) -> Any:
    with pytest.raises(kind) as raised:
        session.file_read(path)
    assert raised.value.code == code
    return raised.value


def test_an_agent_with_a_grant_reaches_nothing_else(ak: AuthorityKernel, files: Path) -> None:
    worker = ak.agent("worker")
    assert worker.file_read(files / "b") == b"b"
    capability = ak.grant("worker", "fs", f"{files}/a", methods=["read"], expires_minutes=60)
    assert (capability.name, capability.agent) == ("fs", "worker") and capability.expires_at and capability.id
    assert worker.file_read(files / "a") == b"a" and worker.alloc("note", {})
    refused(OperationDeniedError, ErrorCode.CAP_MISSING, worker, files / "b")
    details = worker.authorize_details("read", str(files / "a"))
    assert details.authorized and details.capability_name == "fs" and 0 < (details.ttl_ms or 0) <= 3_600_000
    assert not worker.authorize("execute", "add")
    assert ak.authorize_details("read", str(files / "b")).ttl_ms is None
    capability.revoke()
    refused(OperationDeniedError, ErrorCode.CAP_REVOKED, worker, files / "a")


def test_a_session_presents_a_token(ak: AuthorityKernel, files: Path) -> None:
    capability = ak.grant("main", "fs", methods=["read"])
    narrow = capability.attenuate(f"{files}/a", uses=3)
    bearer = ak.agent("bearer")
    token = narrow.token()
    for presented in (bearer.present(narrow), bearer.present(token), bearer.present(token.encode())):
        assert presented.file_read(files / "a") == b"a" and not presented.is_owner
        assert refused(CapabilityError, ErrorCode.CAP_SCOPE, presented, files / "b").denial
    refused(CapabilityError, ErrorCode.CAP_EXPIRED, bearer.present(narrow), files / "a")
    assert bearer.file_read(files / "b") == b"b", "without it the policy alone decides"
    capability.revoke()
    refused(CapabilityError, ErrorCode.CAP_REVOKED, bearer.present(token), files / "a")
    for gone in (narrow.token, narrow.revoke, narrow.attenuate):
        with pytest.raises(OperationDeniedError):
            gone()


def test_an_altered_token_is_invalid(ak: AuthorityKernel, files: Path) -> None:
    token = ak.grant("main", "fs").token()
    with AuthorityKernel(state_dir=files / "state") as other:
        foreign = other.grant("main", "fs").token()
    for bent in ("", "x", token[:-1], token + "A", token.swapcase(), "A" * 10_000, foreign):
        refused(CapabilityError, ErrorCode.CAP_INVALID, ak.present(bent), files / "a")


def test_a_session_that_presents_a_capability_has_no_owner_rights(ak: AuthorityKernel) -> None:
    presented = ak.present(ak.grant("main", "fs"))
    assert not presented.is_owner
    for call in (
        lambda: presented.load_policy(text=""),
        lambda: presented.agent("worker"),
        lambda: presented.grant("worker", "fs"),
        lambda: presented.alloc("note", {}),
    ):
        with pytest.raises(CapabilityError):
            call()
    presented.close()
    ak.alloc("note", {})


def test_capabilities_have_rates_and_budgets(ak: AuthorityKernel, files: Path) -> None:
    worker = ak.agent("worker")
    ak.grant("worker", "fs", rate="2/24h")
    worker.file_read(files / "a")
    worker.file_read(files / "a")
    with pytest.raises(RateLimitError) as raised:
        worker.file_read(files / "a")
    assert raised.value.code == ErrorCode.CAP_RATE and raised.value.retry_after_ms > 0
    ended = ak.grant("other", "fs", expires_minutes=0)
    refused(OperationDeniedError, ErrorCode.CAP_EXPIRED, ak.agent("other"), files / "a")
    refused(CapabilityError, ErrorCode.CAP_EXPIRED, ak.present(ended), files / "a")
    small = ak.grant("main", "fs", budget={"bytes": 10})
    assert ak.present(small).file_read(files / "a", max_size=10) == b"a"
    with pytest.raises(BudgetExceededError, match="bytes: 10 requested, 1 used"):
        ak.present(small).file_read(files / "a", max_size=10)


def test_only_the_owner_grants(ak: AuthorityKernel, files: Path) -> None:
    worker, other = ak.agent("worker"), ak.agent("other")
    with pytest.raises(OperationDeniedError):
        worker.grant("worker", "fs")
    for wrong in (
        {"name": ""},
        {"name": "fs", "resource": "relative"},
        {"name": "fs", "methods": "fly"},
        {"name": "fs", "rate": "often"},
        {"name": "fs", "budget": {"joy": 1}},
        {"name": "add", "resource": "/x"},
    ):
        with pytest.raises(InvalidArgumentError):
            ak.grant("worker", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ak.grant("worker", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Capability()  # type: ignore[call-arg]
    assert worker.file_read(files / "a") == b"a" and other.file_read(files / "a") == b"a"


def test_capabilities_survive_a_restart(tmp_path: Path) -> None:
    policy = f'[fs]\nread = ["{tmp_path.resolve()}/**"]'
    (tmp_path / "a").write_text("a")
    with AuthorityKernel(state_dir=tmp_path / "state") as ak:
        ak.load_policy(text=policy)
        kept, gone = ak.grant("main", "fs", uses=2), ak.grant("main", "fs")
        token, lost = kept.token(), gone.token()
        ak.present(token).file_read(tmp_path / "a")
        gone.revoke()
    with AuthorityKernel(state_dir=tmp_path / "state") as ak:
        ak.load_policy(text=policy)
        ak.present(token).file_read(tmp_path / "a")
        refused(CapabilityError, ErrorCode.CAP_EXPIRED, ak.present(token), tmp_path / "a")
        refused(CapabilityError, ErrorCode.CAP_REVOKED, ak.present(lost), tmp_path / "a")
        assert ak.audit_verify()


def test_methods_of_an_async_capability_are_coroutines(form: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncAuthorityKernel() as ak:
            await ak.load_policy(text=f'[fs]\nread = ["{tmp_path.resolve()}/**"]')
            capability = await ak.grant("worker", "fs")
            narrow = await capability.attenuate(f"{tmp_path.resolve()}/x")
            assert (narrow.name, narrow.agent, narrow.expires_at) == ("fs", "worker", None) and narrow.id
            presented = await ak.present(narrow)
            with pytest.raises(CapabilityError):
                await presented.file_read(tmp_path / "y")
            await (await ak.present(await narrow.token())).get_last_denial()
            await capability.revoke()
            with pytest.raises(OperationDeniedError):
                await narrow.token()

    asyncio.run(main())
