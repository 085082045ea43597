"""What the kernel raises: one class per meaning. Which code raises which class stands in the kernel's table."""

import builtins
from typing import Any, Dict, Optional

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
    """Whatever the kernel refuses or fails to do.

    ``code`` is a number of :class:`ErrorCode`, ``message`` a sentence, ``context`` facts for programs,
    ``denial`` what the gate said where it was the gate that refused.
    """

    code: int
    message: str
    context: Dict[str, Any]
    denial: Optional[DenialInfo]

    def __init__(
        self,
        code: int,
        message: str = "",
        context: Optional[Dict[str, Any]] = None,
        denial: Optional[DenialInfo] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.context = {} if context is None else context
        self.denial = denial

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:
        return type(self), (self.code, self.message, self.context, self.denial)


class OperationDeniedError(AuthorityKernelError):
    """The policy, or a grant that has lapsed, does not let this pass; ``denial`` says why."""


class ApprovalRequiredError(OperationDeniedError):
    """The policy asks for an approval: repeat the identical call once it is given."""

    @property
    def approval_id(self) -> Any:
        """What to approve."""
        return self.context.get("approval_id")

    @property
    def expires_at(self) -> Any:
        """Until when it can be approved, in microseconds since the Unix epoch."""
        return self.context.get("expires_at")


class TaintError(OperationDeniedError):
    """Untrusted or secret data may not flow there."""


class CapabilityError(AuthorityKernelError):
    """The token presented is no good."""


class BudgetExceededError(AuthorityKernelError):
    """A budget has no room for this."""


class RateLimitError(BudgetExceededError):
    """Too much in too short a time."""

    @property
    def retry_after_ms(self) -> Any:
        """When to try again, in milliseconds from the refusal."""
        return self.context.get("retry_after_ms")


class InvalidArgumentError(AuthorityKernelError):
    """The request itself is wrong."""


class SchemaError(InvalidArgumentError):
    """A value does not fit its type's schema, or the schema is not one the kernel knows."""


class PatchTestFailedError(InvalidArgumentError):
    """A ``test`` operation of a patch did not hold; nothing was changed."""


class NotFoundError(AuthorityKernelError):
    """There is no such object, file, tool or entry."""


class ConflictError(AuthorityKernelError):
    """The object has another version than expected."""


class BufferOverflowError(AuthorityKernelError):
    """The result is longer than the caller's own ``max_...``."""


class TimeoutError(AuthorityKernelError, builtins.TimeoutError):
    """Time ran out."""


class OutOfMemoryError(AuthorityKernelError):
    """The kernel's own quota is used up."""


class ToolError(AuthorityKernelError):
    """A tool failed; the message is the tool's."""


class AuditError(AuthorityKernelError):
    """The log cannot take another entry, or is damaged."""


class UnknownOutcomeError(AuthorityKernelError):
    """The effect may or may not have happened."""


class LibakError(AuthorityKernelError):
    """No kernel to talk to: it is closed, unreachable, not configured, or broken."""
