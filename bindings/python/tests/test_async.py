"""The asyncio form: calls hold no thread, and cancelling one cancels its request."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, List

import pytest
from test_processes import Silent
from web import Echo, Model, serve

from authority_nanos import AsyncAuthorityKernel, LibakError, OperationDeniedError


def policy(port: int) -> str:
    return f'[http]\nallow = ["GET http://127.0.0.1:{port}/**"]\n[net]\nconnect = ["ip:127.0.0.1:{port}"]\n'


async def until(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def test_cancelling_a_call_releases_its_reservation_at_once(form: str) -> None:
    silent = Silent()

    async def main() -> None:
        async with AsyncAuthorityKernel() as ak:
            await ak.load_policy(text=policy(silent.port))
            started = time.monotonic()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(ak.http_request("GET", f"http://127.0.0.1:{silent.port}/", timeout=60), 0.3)

            async def free() -> bool:
                return bool((await ak.budget_status("bytes"))["reserved"] == 0)

            await until(free)
            assert time.monotonic() - started < 20

    asyncio.run(main())


def test_many_calls_wait_at_once_without_the_loops_executor(form: str) -> None:
    with serve(Echo) as server:
        port = server.server_address[1]

        async def main() -> float:
            async with AsyncAuthorityKernel() as ak:
                await ak.load_policy(text=policy(port))
                started = time.monotonic()
                calls = [ak.http_request("GET", f"http://127.0.0.1:{port}/slow") for _ in range(48)]
                waiting = asyncio.gather(*calls)
                await asyncio.sleep(0.1)
                asked = time.monotonic()
                assert await asyncio.to_thread(lambda: "mine") == "mine"
                assert time.monotonic() - asked < 1.5, "the program's own threads are its own"
                assert all(answer == b"at last" for answer in await waiting)
                return time.monotonic() - started

        # One after the other the calls would take a minute and a half, on the threads of an executor 16 s.
        assert asyncio.run(main()) < 10


def test_a_thousand_calls_wait_on_a_few_threads() -> None:
    silent = Silent()

    async def main() -> None:
        async with AsyncAuthorityKernel() as ak:
            await ak.load_policy(text=policy(silent.port))
            target = f"http://127.0.0.1:{silent.port}/"
            calls = [asyncio.ensure_future(ak.http_request("GET", target, timeout=120)) for _ in range(1000)]

            async def all_wait() -> bool:
                return silent.taken >= 1000

            await until(all_wait, 60)
            # The test has threads of its own.
            own = threading.active_count()
            assert len(os.listdir("/proc/self/task")) <= 16 + own
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

            async def free() -> bool:
                return bool((await ak.budget_status("bytes"))["reserved"] == 0)

            await until(free)

    asyncio.run(main())


def test_every_method_is_a_coroutine(form: str) -> None:
    async def main() -> None:
        async with AsyncAuthorityKernel() as ak:
            handle = await ak.alloc("t", {"a": 1})
            assert await ak.read_json(handle) == {"a": 1}
            assert await ak.write(handle, [{"op": "replace", "path": "/a", "value": 2}]) == 1
            assert (await ak.stat(handle))["version"] == 1
            assert (await ak.audit_verify()).consistent and await ak.audit_logs()
            assert await ak.get_last_denial() is None
            worker = await ak.agent("worker")
            with pytest.raises(OperationDeniedError):
                await worker.http_request("GET", "https://example.com/")
            capability = await ak.grant("worker", "http", "https://example.com/**")
            narrower = await capability.attenuate(uses=1)
            held = await worker.present(await narrower.token())
            with pytest.raises(OperationDeniedError):
                await held.http_request("GET", "https://example.com/")
            await capability.revoke()
        with pytest.raises(LibakError):
            await ak.alloc("t", {})

    asyncio.run(main())


def test_a_cancelled_anext_loses_no_chunk(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form != "embedded":
        pytest.skip("the daemon of the tests knows no models")
    from web import Model

    with serve(Model) as model:
        monkeypatch.setenv("AK_INFER_URL", f"http://127.0.0.1:{model.server_address[1]}/v1")

        async def main() -> List[bytes]:
            async with AsyncAuthorityKernel() as ak:
                await ak.load_policy(text='[infer]\nmodels = ["*"]')
                stream = ak.inference_stream("tiny", "count", max_tokens=5)
                pieces: List[bytes] = []
                while True:
                    try:
                        pieces.append(await asyncio.wait_for(stream.__anext__(), 0.001))
                    except asyncio.TimeoutError:
                        continue
                    except StopAsyncIteration:
                        return pieces

        text = b"".join(asyncio.run(main())).decode()
        assert [word for word in ("one", "two", "three", "four", "five") if word in text] == ["one", "two", "three", "four", "five"]


def test_a_cancelled_opening_serves_the_next_loop(tmp_path: Path) -> None:
    ak = AsyncAuthorityKernel(state_dir=str(tmp_path / "state"))

    async def give_up() -> None:
        opening = asyncio.ensure_future(ak.init())
        await asyncio.sleep(0)
        opening.cancel()

    async def use() -> Any:
        handle = await ak.alloc("t", {})
        await ak.close()
        return handle

    asyncio.run(give_up())
    assert asyncio.run(use())


def test_loops_of_several_threads_open_one_session(tmp_path: Path) -> None:
    ak = AsyncAuthorityKernel(state_dir=str(tmp_path / "state"))
    together, handles = threading.Barrier(4), []

    async def use() -> None:
        together.wait()
        handles.append(await ak.alloc("t", {}))

    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(map(str, handles))) == 4
    asyncio.run(ak.close())


def test_a_stream_cancelled_before_its_start_can_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(Model) as server:
        port = server.server_address[1]
        monkeypatch.setenv("AK_INFER_URL", f"http://127.0.0.1:{port}/v1")

        async def main() -> int:
            ak = AsyncAuthorityKernel()
            stream = ak.inference_stream("m", "p")
            first = asyncio.ensure_future(stream.__anext__())
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            await ak.load_policy(text='[infer]\nmodels = ["m"]\n')
            chunks = [chunk async for chunk in stream]
            await ak.close()
            return len(chunks)

        assert asyncio.run(main()) > 1


# The delivery thread returns to the interpreter while the interpreter is ending.
ENDS_WHILE_DELIVERING = """
import asyncio, os, threading, time
from authority_nanos import AsyncAuthorityKernel

class Loop(asyncio.SelectorEventLoop):
    def call_soon_threadsafe(self, *args, **options):
        handle = super().call_soon_threadsafe(*args, **options)
        if threading.current_thread().name.startswith("Dummy"):
            time.sleep(0.5)
        return handle

async def main():
    await AsyncAuthorityKernel().alloc("t", {})

class Last:
    def __del__(self, sleep=time.sleep, write=os.write):
        sleep(1.5)
        write(1, b"ended well")

last, loop = Last(), Loop()
loop.run_until_complete(main())
"""


def test_an_interpreter_that_ends_waits_for_results_being_delivered() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS_WHILE_DELIVERING], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, b"ended well"), ended.stderr.decode()


LATE = """
import atexit

def late():
    try:
        asyncio.run(ak.alloc("t", {}))
    except LibakError as refused:
        print(refused)

atexit.register(late)

import asyncio
from authority_nanos import AsyncAuthorityKernel, LibakError

ak = AsyncAuthorityKernel()
asyncio.run(ak.alloc("t", {}))
"""


def test_calls_after_the_interpreters_end_are_refused() -> None:
    ended = subprocess.run([sys.executable, "-c", LATE], capture_output=True, timeout=60, text=True)
    assert "the interpreter is ending" in ended.stdout, ended.stderr
