"""The classes for asyncio programs."""

import asyncio
import collections
import contextlib
import functools
import os
import threading
from typing import Any, Awaitable, Callable, Deque, List, Optional, Tuple, TypeVar

from ._native import AuthorityKernel, Capability, InferenceStream
from . import types as _types

__all__ = ["AsyncAuthorityKernel", "AsyncCapability", "AsyncInferenceStream"]

_T = TypeVar("_T")


class AsyncCapability:
    """:class:`Capability` with every method a coroutine."""

    def __init__(self, capability: Capability) -> None:
        self._capability = capability

    @property
    def id(self) -> str:
        """The identifier of the capability in the kernel."""
        return self._capability.id

    @property
    def name(self) -> str:
        """The name that the capability was granted under."""
        return self._capability.name

    @property
    def agent(self) -> str:
        """The agent that holds the capability."""
        return self._capability.agent

    @property
    def expires_at(self) -> Optional[int]:
        """When the capability expires, in microseconds since the Unix epoch; None if it does not."""
        return self._capability.expires_at

    async def attenuate(self, *args: Any, **options: Any) -> "AsyncCapability":
        """Derives a capability that allows the same or less."""
        derived: Any = self._capability.attenuate(*args, **options)
        return AsyncCapability(await derived)

    async def revoke(self) -> None:
        """Revokes the capability and everything derived from it."""
        revoked: Any = self._capability.revoke()
        await revoked

    async def token(self) -> str:
        """Returns the capability as a bearer token."""
        token: Any = self._capability.token()
        return str(await token)


class AsyncAuthorityKernel:
    """:class:`AuthorityKernel` with every method a coroutine. A call holds no thread while it waits. Cancelling a call
    cancels the request and releases its reservation.

    The arguments are those of :class:`AuthorityKernel`. ``async with`` or the first call opens the session.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._open: Callable[[], AuthorityKernel] = functools.partial(AuthorityKernel, *args, **options)
        self._kernel: Optional[AuthorityKernel] = None
        # The calls that wait until the session is open, each with its own loop, and the process of the thread
        # that opens it.
        self._waiting: List[Tuple[asyncio.AbstractEventLoop, "asyncio.Future[AuthorityKernel]"]] = []
        self._opener: Optional[int] = None
        self._lock = threading.Lock()

    async def _session(self) -> Any:
        """Returns the session with methods that return futures."""
        return (await self._opened())._to_async()

    async def _opened(self) -> AuthorityKernel:
        if self._kernel is not None:
            return self._kernel
        loop = asyncio.get_running_loop()
        opened: "asyncio.Future[AuthorityKernel]" = loop.create_future()
        with self._lock:
            if self._kernel is not None:
                return self._kernel
            self._waiting.append((loop, opened))
            # After a fork, a thread that was opening the session exists in the parent only.
            is_first, self._opener = self._opener != os.getpid(), os.getpid()
        if is_first:
            threading.Thread(target=self._open_for_all, name="ak-worker", daemon=True).start()
        # A cancelled wait does not stop the opening: other calls use it.
        return await opened

    def _open_for_all(self) -> None:
        kernel, error = None, None
        try:
            kernel = self._open()
        except BaseException as raised:
            error = raised
        with self._lock:
            self._kernel, self._opener = kernel, None
            waiting, self._waiting = self._waiting, []
        for loop, opened in waiting:
            _resolve(loop, opened, kernel, error)

    async def __aenter__(self) -> "AsyncAuthorityKernel":
        await self.init()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()

    async def init(self) -> None:
        """Opens the session, also again after `close`."""
        await _in_thread((await self._opened()).init)

    async def close(self) -> None:
        """Ends the session: every later call raises `LibakError`. Ending it twice is no error."""
        await _in_thread((await self._opened()).close)

    async def shutdown(self) -> None:
        """The same as `close`."""
        await self.close()

    async def agent(self, name: str) -> "AsyncAuthorityKernel":
        """Returns a session of the agent with this name, which is created if there is none."""
        kernel = await self._opened()
        return _wrap(await _in_thread(lambda: kernel.agent(name)))

    async def present(self, capability: Any) -> "AsyncAuthorityKernel":
        """Returns this session presenting a capability with every request."""
        kernel = await self._opened()
        token = await capability.token() if isinstance(capability, AsyncCapability) else capability
        return _wrap(await _in_thread(lambda: kernel.present(token)))

    async def grant(self, *args: Any, **options: Any) -> AsyncCapability:
        """Grants an agent a capability."""
        return AsyncCapability(await (await self._session()).grant(*args, **options))

    async def load_policy(self, *args: Any, **options: Any) -> "List[_types.Lint]":
        """Replaces the policy by the one in the file or the text, and returns warnings about its rules."""
        kernel = await self._opened()
        return await _in_thread(lambda: kernel.load_policy(*args, **options))

    def inference_stream(self, *args: Any, **options: Any) -> "AsyncInferenceStream":
        """Returns the chunks of a model's answer, for ``async for``."""

        async def start() -> InferenceStream:
            stream: InferenceStream = (await self._session()).inference_stream(*args, **options)
            return stream

        return AsyncInferenceStream(start)


class AsyncInferenceStream:
    """The chunks of a model's answer, each a chat-completion chunk as JSON bytes. The first ``anext`` sends the request and raises
    a denial. A cancelled ``anext`` loses no chunk. Closing or dropping the stream stops the model.
    """

    def __init__(self, start: Callable[[], Awaitable[InferenceStream]]) -> None:
        self._start: Optional[Callable[[], Awaitable[InferenceStream]]] = start
        self._stream: Optional[InferenceStream] = None
        self._ready: Deque[Tuple[Optional[bytes], Optional[BaseException]]] = collections.deque()
        self._chunk_ready = asyncio.Event()

    def __aiter__(self) -> "AsyncInferenceStream":
        return self

    async def __anext__(self) -> bytes:
        if self._start is not None:
            stream = await self._start()
            # Another ``anext`` may have begun the stream meanwhile, or ``aclose`` may have ended it.
            if self._start is not None:
                self._start = None
                self._begin(stream)
        while not self._ready:
            if self._stream is None:
                raise StopAsyncIteration
            self._chunk_ready.clear()
            await self._chunk_ready.wait()
        chunk, error = self._ready.popleft()
        if chunk is not None:
            return chunk
        self._stream = None
        if error is not None:
            raise error
        raise StopAsyncIteration

    def _begin(self, stream: InferenceStream) -> None:
        self._stream, ready, chunk_ready = stream, self._ready, self._chunk_ready

        def on_chunk(chunk: Optional[bytes], error: Optional[BaseException]) -> None:
            ready.append((chunk, error))
            chunk_ready.set()

        stream._pump(on_chunk)

    async def aclose(self) -> None:
        """Stops the model. No further chunk is returned."""
        stream, self._stream, self._start = self._stream, None, None
        self._ready.clear()
        if stream is not None:
            stream.close()


def _wrap(session: AuthorityKernel) -> AsyncAuthorityKernel:
    kernel = AsyncAuthorityKernel()
    kernel._kernel = session
    return kernel


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Runs blocking work on a thread of its own, so that the threads of the loop's executor stay free for the program."""
    loop = asyncio.get_running_loop()
    future: "asyncio.Future[_T]" = loop.create_future()

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        _resolve(loop, future, result, error)

    threading.Thread(target=run, name="ak-worker", daemon=True).start()
    return await future


def _resolve(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", result: Any, error: Optional[BaseException]
) -> None:
    """Resolves a future from another thread. Does nothing once the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_set_result, future, result, error)


def _set_result(future: "asyncio.Future[Any]", result: Any, error: Optional[BaseException]) -> None:
    """Resolves a future, unless it was cancelled meanwhile. The native module calls this function too."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _awaitable(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(AuthorityKernel, name))
    async def method(self: AsyncAuthorityKernel, *args: Any, **options: Any) -> Any:
        return await getattr(await self._session(), name)(*args, **options)

    return method


for _name, _method in vars(AuthorityKernel).items():
    if callable(_method) and not _name.startswith("_") and not hasattr(AsyncAuthorityKernel, _name):
        setattr(AsyncAuthorityKernel, _name, _awaitable(_name))
