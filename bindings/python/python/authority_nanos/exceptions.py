"""The exceptions, one class per kind of failure. The kernel's table of codes says which code raises which class."""

import builtins
from typing import Any, Dict, Optional, Union

from .types import DenialInfo

__all__ = [
    "ApprovalRequiredError",
    "AuditError",
    "AuthorityKernelError",
    "BudgetExceededError",
    "BufferOverflowError",
    "CapabilityError",
    "ConflictError",
    "InvalidArgumentError",
    "LibakError",
    "NotFoundError",
    "OperationDeniedError",
    "OutOfMemoryError",
    "PatchTestFailedError",
    "RateLimitError",
    "SchemaError",
    "TaintError",
    "TimeoutError",
    "ToolError",
    "UnknownOutcomeError",
]


class AuthorityKernelError(Exception):
    """A request was denied, or failed.

    ``code`` is a number of :class:`ErrorCode`, or 0 where a program raises the error itself; ``message`` is for people, ``context``
    for programs; ``denial`` is present where the gate denied the request.
    """

    code: int
    message: str
    context: Dict[str, Any]
    denial: Optional[DenialInfo]

    def __init__(
        self,
        code: Union[int, str] = 0,
        message: str = "",
        context: Optional[Dict[str, Any]] = None,
        denial: Optional[DenialInfo] = None,
    ) -> None:
        # A program may raise it as any exception is raised: with a message alone.
        number, message = (0, code) if isinstance(code, str) else (code, message)
        super().__init__(message)
        self.code = number
        self.message = message
        self.context = {} if context is None else context
        self.denial = denial

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:
        return type(self), (self.code, self.message, self.context, self.denial)


class OperationDeniedError(AuthorityKernelError):
    """The policy or an expired grant denies the request; ``denial`` says why."""


class ApprovalRequiredError(OperationDeniedError):
    """The policy requires an approval: repeat the identical call once the owner has given it."""

    @property
    def approval_id(self) -> Any:
        """The identifier of the approval."""
        return self.context.get("approval_id")

    @property
    def expires_at(self) -> Any:
        """When the approval expires, in microseconds since the Unix epoch."""
        return self.context.get("expires_at")


class TaintError(OperationDeniedError):
    """Untrusted or secret data may not flow to the target."""


class CapabilityError(AuthorityKernelError):
    """The presented token is invalid, expired, revoked or does not cover the request."""


class BudgetExceededError(AuthorityKernelError):
    """A budget does not cover the request."""


class RateLimitError(BudgetExceededError):
    """A rate limit does not allow the request now."""

    @property
    def retry_after_ms(self) -> Any:
        """After how many milliseconds the request may be repeated."""
        return self.context.get("retry_after_ms")


class InvalidArgumentError(AuthorityKernelError):
    """The request is malformed, or over a limit."""


class SchemaError(InvalidArgumentError):
    """A value does not match the schema of its type, or the schema is not supported."""


class PatchTestFailedError(InvalidArgumentError):
    """A ``test`` operation of a patch failed; nothing was changed."""


class NotFoundError(AuthorityKernelError):
    """There is no such object, file, tool or entry."""


class ConflictError(AuthorityKernelError):
    """The object has another version than expected."""


class BufferOverflowError(AuthorityKernelError):
    """The result is longer than the ``max_...`` argument of the call."""


class TimeoutError(AuthorityKernelError, builtins.TimeoutError):
    """A deadline passed."""


class OutOfMemoryError(AuthorityKernelError):
    """A quota of the kernel is used up."""


class ToolError(AuthorityKernelError):
    """A tool failed; the message comes from the tool."""


class AuditError(AuthorityKernelError):
    """The log is full or damaged."""


class UnknownOutcomeError(AuthorityKernelError):
    """The effect may or may not have happened."""


class LibakError(AuthorityKernelError):
    """There is no usable kernel: it is closed, unreachable or not configured."""
