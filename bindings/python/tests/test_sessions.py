"""Sessions: opening, closing, sharing; the asyncio form; `syscall`."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any, List

import pytest

from authority_nanos import (
    AsyncAuthorityKernel,
    AuthorityKernel,
    EffectRequest,
    ErrorCode,
    InvalidArgumentError,
    LibakError,
    NotFoundError,
    OperationDeniedError,
    Syscall,
)


def test_calls_on_a_closed_session_raise(form: str) -> None:
    with AuthorityKernel() as ak:
        agent = ak.agent("worker")
    for session in (ak, agent):
        for call in (session.audit_logs, lambda session=session: session.alloc("thing", b"")):
            with pytest.raises(LibakError) as raised:
                call()
            assert raised.value.code == ErrorCode.NOT_CONFIGURED and "closed" in str(raised.value)
    ak.close()
    ak.shutdown()


def test_closing_an_agent_session_leaves_the_kernel_open(ak: AuthorityKernel) -> None:
    agent = ak.agent("worker")
    with agent:
        agent.alloc("thing", b"")
    with pytest.raises(LibakError):
        agent.alloc("thing", b"")
    agent.init()
    with pytest.raises(LibakError):
        agent.alloc("thing", b"")
    ak.agent("worker").alloc("thing", b"")


def test_init_and_shutdown_open_and_close(form: str) -> None:
    ak = AuthorityKernel(libak_path="/usr/lib/libak.so", debug=True)
    ak.init()
    ak.alloc("thing", b"")
    ak.shutdown()
    ak.init()
    ak.alloc("thing", b"")
    ak.shutdown()


def test_a_state_directory_keeps_the_state(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[tools]\nallow = ["from_the_file"]')
    with AuthorityKernel(state_dir=tmp_path / "state", policy=policy) as ak:
        handle = ak.alloc("thing", {"a": 1})
        ak.write(handle, [{"op": "add", "path": "/b", "value": 2}])
        assert ak.authorize("execute", "from_the_file")
        with pytest.raises(LibakError):
            AuthorityKernel(state_dir=tmp_path / "state")
    with AuthorityKernel(state_dir=str(tmp_path / "state")) as ak:
        assert ak.read_json(str(handle)) == {"a": 1, "b": 2} and ak.stat(handle)["version"] == 1
        assert ak.authorize("execute", "from_the_file")


def test_the_environment_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[tools]\nallow = ["from_the_environment"]')
    monkeypatch.setenv("AK_POLICY", str(policy))
    monkeypatch.setenv("AK_STATE_DIR", str(tmp_path / "state"))
    with AuthorityKernel() as ak:
        assert ak.authorize("execute", "from_the_environment")
    assert (tmp_path / "state").is_dir()
    monkeypatch.setenv("AK_URL", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(LibakError):
        AuthorityKernel()
    with AuthorityKernel(state_dir=tmp_path / "another"):
        pass


@pytest.mark.parametrize("url", ["", "nonsense", "http://127.0.0.1/", "unix:///no/such.sock", "unix://"])
def test_an_unreachable_url_raises(url: str) -> None:
    with pytest.raises((InvalidArgumentError, LibakError)):
        AuthorityKernel(url)


def test_opening_with_an_invalid_policy_fails(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    with pytest.raises(NotFoundError):
        AuthorityKernel(policy=policy)
    policy.write_text("[fs]\nraed = []")
    with pytest.raises(InvalidArgumentError):
        AuthorityKernel(policy=policy)


def test_a_connection_without_the_token_is_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form != "socket":
        pytest.skip("an embedded kernel belongs to its process")
    monkeypatch.delenv("AK_TOKEN_FILE")
    with pytest.raises(OperationDeniedError, match="AK_TOKEN_FILE"):
        AuthorityKernel()


def test_names_are_reserved_for_the_owner_and_for_guests(ak: AuthorityKernel) -> None:
    for name in ("main", "main/helper", "guest", "guest/1"):
        with pytest.raises(InvalidArgumentError):
            ak.agent(name)


def test_threads_share_a_kernel(ak: AuthorityKernel) -> None:
    handle = ak.alloc("counter", {"values": []})
    errors: List[Exception] = []

    def work(number: int) -> None:
        try:
            for step in range(50):
                ak.write(handle, [{"op": "add", "path": "/values/-", "value": [number, step]}])
                ak.read(handle)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = ak.read_json(handle)["values"]
    assert not errors and len(values) == 400 and ak.stat(handle)["version"] == 400
    assert all([step for each, step in values if each == number] == list(range(50)) for number in range(8))


def test_a_kernel_can_be_subclassed_and_not_pickled(form: str) -> None:
    import pickle
    import weakref

    class Mine(AuthorityKernel):
        extra = 1

    with Mine() as ak:
        assert ak.extra == 1 and weakref.ref(ak)() is ak and ak.alloc("thing", b"")
        with pytest.raises(TypeError):
            pickle.dumps(ak)


def test_methods_of_an_async_kernel_are_awaitable(form: str) -> None:
    async def main() -> Any:
        async with AsyncAuthorityKernel() as ak:
            handles = await asyncio.gather(*(ak.alloc("thing", {"n": number}) for number in range(20)))
            values = await asyncio.gather(*(ak.read_json(handle) for handle in handles))
            assert [value["n"] for value in values] == list(range(20))
            agent = await ak.agent("worker")
            await agent.alloc("thing", b"")
            with pytest.raises(OperationDeniedError):
                await agent.load_policy(text="")
            assert await ak.audit_verify()
        with pytest.raises(LibakError):
            await ak.alloc("thing", b"")

    asyncio.run(main())


def test_an_async_kernel_opens_with_its_first_call(form: str) -> None:
    async def main() -> None:
        ak = AsyncAuthorityKernel()
        assert await ak.tool_call("add", {"a": 1, "b": 2}) == b'{"result":3}'
        await ak.close()

    asyncio.run(main())


def test_syscall_sends_any_operation_by_number(ak: AuthorityKernel) -> None:
    done = ak.syscall(EffectRequest(Syscall.ALLOC, {"type": "thing", "value": {"a": 1}}))
    assert done.err == ErrorCode.OK
    handle = json.loads(done.result)["handle"]
    assert ak.read_json(handle) == {"a": 1}
    for request, code in [
        (EffectRequest(Syscall.READ, {"handle": "0x7fffffff00000001"}), ErrorCode.NOT_FOUND),
        (EffectRequest(Syscall.READ, {"handle": handle, "other": 1}), ErrorCode.INVALID_ARGUMENT),
        (EffectRequest(Syscall.READ, b"not json"), ErrorCode.JSON_INVALID),
        (EffectRequest(Syscall.FS_READ, {"path": "/etc/shadow"}), ErrorCode.POLICY_DENY),
        (EffectRequest(Syscall.GENESIS), ErrorCode.INVALID_ARGUMENT),
        (EffectRequest(7), ErrorCode.INVALID_ARGUMENT),
    ]:
        failed = ak.syscall(request)
        assert failed.err == code and json.loads(failed.result)["code"] == code
