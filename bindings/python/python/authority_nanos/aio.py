"""The kernel for asyncio programs."""

import asyncio
import collections
import contextlib
import functools
import os
import threading
from typing import Any, Awaitable, Callable, Deque, List, Optional, Tuple, TypeVar

from ._native import AuthorityKernel, Capability, InferenceStream

__all__ = ["AsyncAuthorityKernel", "AsyncCapability", "AsyncInferenceStream"]

_T = TypeVar("_T")


class AsyncCapability:
    """:class:`Capability` with every method a coroutine."""

    def __init__(self, capability: Capability) -> None:
        self._capability = capability

    @property
    def id(self) -> str:
        """Its name in the kernel."""
        return self._capability.id

    @property
    def name(self) -> str:
        """What it is for."""
        return self._capability.name

    @property
    def agent(self) -> str:
        """Who holds it."""
        return self._capability.agent

    @property
    def expires_at(self) -> Optional[int]:
        """When it ends, in microseconds since the Unix epoch."""
        return self._capability.expires_at

    async def attenuate(self, *args: Any, **options: Any) -> "AsyncCapability":
        """Derives a capability that allows the same and less."""
        derived: Any = self._capability.attenuate(*args, **options)
        return AsyncCapability(await derived)

    async def revoke(self) -> None:
        """Takes the capability back, with everything derived from it."""
        revoked: Any = self._capability.revoke()
        await revoked

    async def token(self) -> str:
        """The capability as a bearer token."""
        token: Any = self._capability.token()
        return str(await token)


class AsyncAuthorityKernel:
    """:class:`AuthorityKernel` with every method a coroutine. A call holds no thread while it waits, and one that is cancelled is
    given up: what was set aside for it is free again.

    It takes what :class:`AuthorityKernel` takes, and is opened by ``async with`` or by the first call.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._open: Callable[[], AuthorityKernel] = functools.partial(AuthorityKernel, *args, **options)
        self._plain: Optional[AuthorityKernel] = None
        # Who waits until it is open, on whichever loop, and the process of the thread that opens it.
        self._waiting: List[Tuple[asyncio.AbstractEventLoop, "asyncio.Future[AuthorityKernel]"]] = []
        self._opener: Optional[int] = None
        self._lock = threading.Lock()

    async def _session(self) -> Any:
        """The session whose methods give futures."""
        return (await self._opened())._to_async()

    async def _opened(self) -> AuthorityKernel:
        if self._plain is not None:
            return self._plain
        loop = asyncio.get_running_loop()
        opened: "asyncio.Future[AuthorityKernel]" = loop.create_future()
        with self._lock:
            if self._plain is not None:
                return self._plain
            self._waiting.append((loop, opened))
            # A fork leaves the thread behind that was opening it.
            begins, self._opener = self._opener != os.getpid(), os.getpid()
        if begins:
            threading.Thread(target=self._open_for_all, name="ak-aside", daemon=True).start()
        # Whoever gives up waiting leaves it to the others, and to who comes later.
        return await opened

    def _open_for_all(self) -> None:
        plain, error = None, None
        try:
            plain = self._open()
        except BaseException as raised:
            error = raised
        with self._lock:
            self._plain, self._opener = plain, None
            waiting, self._waiting = self._waiting, []
        for loop, opened in waiting:
            _tell(loop, opened, plain, error)

    async def __aenter__(self) -> "AsyncAuthorityKernel":
        await self.init()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()

    async def init(self) -> None:
        """Opens the session, again after `close`."""
        await _aside((await self._opened()).init)

    async def close(self) -> None:
        """Ends the session: every later call is a `LibakError`. Ending it twice is no error."""
        await _aside((await self._opened()).close)

    async def shutdown(self) -> None:
        """The same as `close`."""
        await self.close()

    async def agent(self, name: str) -> "AsyncAuthorityKernel":
        """A session of the agent with this name."""
        plain = await self._opened()
        return _around(await _aside(lambda: plain.agent(name)))

    async def present(self, capability: Any) -> "AsyncAuthorityKernel":
        """This session presenting a capability with every request."""
        plain = await self._opened()
        token = await capability.token() if isinstance(capability, AsyncCapability) else capability
        return _around(await _aside(lambda: plain.present(token)))

    async def grant(self, *args: Any, **options: Any) -> AsyncCapability:
        """Gives an agent a capability."""
        return AsyncCapability(await (await self._session()).grant(*args, **options))

    async def load_policy(self, *args: Any, **options: Any) -> None:
        """Replaces the policy by the one in the file or the text."""
        plain = await self._opened()
        await _aside(lambda: plain.load_policy(*args, **options))

    def inference_stream(self, *args: Any, **options: Any) -> "AsyncInferenceStream":
        """The chunks of a model's answer, for ``async for``."""

        async def start() -> InferenceStream:
            stream: InferenceStream = (await self._session()).inference_stream(*args, **options)
            return stream

        return AsyncInferenceStream(start)


class AsyncInferenceStream:
    """The chunks of a model's answer, each a chat-completion chunk as JSON bytes. The request is sent by the first ``anext``; a
    refusal is raised by it. Whoever gives up waiting for a chunk loses none. Closing or dropping the stream stops the model.
    """

    def __init__(self, start: Callable[[], Awaitable[InferenceStream]]) -> None:
        self._start: Optional[Callable[[], Awaitable[InferenceStream]]] = start
        self._stream: Optional[InferenceStream] = None
        self._ready: Deque[Tuple[Optional[bytes], Optional[BaseException]]] = collections.deque()
        self._more = asyncio.Event()

    def __aiter__(self) -> "AsyncInferenceStream":
        return self

    async def __anext__(self) -> bytes:
        if self._start is not None:
            stream = await self._start()
            # Whoever waited for that beside, or has closed it meanwhile, needs no second one.
            if self._start is not None:
                self._start = None
                self._begin(stream)
        while not self._ready:
            if self._stream is None:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        chunk, error = self._ready.popleft()
        if chunk is not None:
            return chunk
        self._stream = None
        if error is not None:
            raise error
        raise StopAsyncIteration

    def _begin(self, stream: InferenceStream) -> None:
        self._stream, ready, more = stream, self._ready, self._more

        def take(chunk: Optional[bytes], error: Optional[BaseException]) -> None:
            ready.append((chunk, error))
            more.set()

        stream._pump(take)

    async def aclose(self) -> None:
        """Takes no more chunks, and stops the model."""
        stream, self._stream, self._start = self._stream, None, None
        self._ready.clear()
        if stream is not None:
            stream.close()


def _around(session: AuthorityKernel) -> AsyncAuthorityKernel:
    kernel = AsyncAuthorityKernel()
    kernel._plain = session
    return kernel


async def _aside(work: Callable[[], _T]) -> _T:
    """Does what opens and closes on a thread of its own: the loop's executor is the program's."""
    loop = asyncio.get_running_loop()
    future: "asyncio.Future[_T]" = loop.create_future()

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        _tell(loop, future, result, error)

    threading.Thread(target=run, name="ak-aside", daemon=True).start()
    return await future


def _tell(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", result: Any, error: Optional[BaseException]
) -> None:
    """Ends a future of a loop's from another thread. A loop that is closed meanwhile waits for nothing."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: Optional[BaseException]) -> None:
    """Ends a future that may have been cancelled meanwhile. The native module calls it too."""
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
