"""The kernel for asyncio programs."""

import asyncio
import functools
import threading
from typing import Any, AsyncIterator, Callable, Optional

from ._native import AuthorityKernel, Capability

__all__ = ["AsyncAuthorityKernel", "AsyncCapability"]


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
        return AsyncCapability(await asyncio.to_thread(self._capability.attenuate, *args, **options))

    async def revoke(self) -> None:
        """Takes the capability back, with everything derived from it."""
        await asyncio.to_thread(self._capability.revoke)

    async def token(self) -> str:
        """The capability as a bearer token."""
        return await asyncio.to_thread(self._capability.token)


class AsyncAuthorityKernel:
    """:class:`AuthorityKernel` with every method a coroutine. A call waits in a thread, never in the event loop.

    It takes what :class:`AuthorityKernel` takes, and is opened by ``async with`` or by the first call.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._open: Callable[[], AuthorityKernel] = functools.partial(AuthorityKernel, *args, **options)
        self._kernel: Optional[AuthorityKernel] = None
        self._opening = threading.Lock()

    def _session(self) -> AuthorityKernel:
        with self._opening:
            if self._kernel is None:
                self._kernel = self._open()
            return self._kernel

    async def __aenter__(self) -> "AsyncAuthorityKernel":
        await self.init()  # type: ignore[attr-defined]
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()  # type: ignore[attr-defined]

    async def agent(self, name: str) -> "AsyncAuthorityKernel":
        """A session of the agent with this name."""
        return _around(await asyncio.to_thread(lambda: self._session().agent(name)))

    async def present(self, capability: Any) -> "AsyncAuthorityKernel":
        """This session presenting a capability with every request."""
        plain = capability._capability if isinstance(capability, AsyncCapability) else capability
        return _around(await asyncio.to_thread(lambda: self._session().present(plain)))

    async def grant(self, *args: Any, **options: Any) -> AsyncCapability:
        """Gives an agent a capability."""
        return AsyncCapability(await asyncio.to_thread(lambda: self._session().grant(*args, **options)))

    async def inference_stream(self, *args: Any, **options: Any) -> AsyncIterator[bytes]:
        """The chunks of a model's answer, for ``async for``."""
        stream = await asyncio.to_thread(lambda: self._session().inference_stream(*args, **options))
        try:
            while (chunk := await asyncio.to_thread(next, stream, None)) is not None:
                yield chunk
        finally:
            stream.close()


def _around(session: AuthorityKernel) -> AsyncAuthorityKernel:
    kernel = AsyncAuthorityKernel()
    kernel._kernel = session
    return kernel


def _awaitable(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(AuthorityKernel, name))
    async def method(self: AsyncAuthorityKernel, *args: Any, **options: Any) -> Any:
        return await asyncio.to_thread(lambda: getattr(self._session(), name)(*args, **options))

    return method


for _name, _method in vars(AuthorityKernel).items():
    if callable(_method) and not _name.startswith("_") and not hasattr(AsyncAuthorityKernel, _name):
        setattr(AsyncAuthorityKernel, _name, _awaitable(_name))
