"""The Authority Kernel: policy, budgets and a tamper-evident log in front of every effect of an agent.

    >>> from authority_nanos import AuthorityKernel
    >>> with AuthorityKernel() as ak:
    ...     handle = ak.alloc("counter", {"value": 0})
    ...     ak.write(handle, [{"op": "replace", "path": "/value", "value": 42}])
    ...     ak.read_json(handle)
    1
    {'value': 42}
"""

from ._native import AuthorityKernel, Capability, Handle, InferenceStream
from .aio import AsyncAuthorityKernel, AsyncCapability, AsyncInferenceStream
from .exceptions import (
    ApprovalRequiredError,
    AuditError,
    AuthorityKernelError,
    BudgetExceededError,
    BufferOverflowError,
    CapabilityError,
    ConflictError,
    InvalidArgumentError,
    LibakError,
    NotFoundError,
    OperationDeniedError,
    OutOfMemoryError,
    PatchTestFailedError,
    RateLimitError,
    SchemaError,
    TaintError,
    TimeoutError,
    ToolError,
    UnknownOutcomeError,
)
from .tables import ErrorCode, Syscall
from .types import (
    AuthorizationDetails,
    DenialInfo,
    EffectRequest,
    EffectResponse,
    HttpResponse,
    InferenceRequest,
    Lint,
    ToolCall,
    Verification,
)

__all__ = [
    "ApprovalRequiredError",
    "AsyncAuthorityKernel",
    "AsyncCapability",
    "AsyncInferenceStream",
    "AuditError",
    "AuthorityKernel",
    "AuthorityKernelError",
    "AuthorizationDetails",
    "BudgetExceededError",
    "BufferOverflowError",
    "Capability",
    "CapabilityError",
    "ConflictError",
    "DenialInfo",
    "EffectRequest",
    "EffectResponse",
    "ErrorCode",
    "Handle",
    "HttpResponse",
    "InferenceRequest",
    "InferenceStream",
    "InvalidArgumentError",
    "LibakError",
    "Lint",
    "NotFoundError",
    "OperationDeniedError",
    "OutOfMemoryError",
    "PatchTestFailedError",
    "RateLimitError",
    "SchemaError",
    "Syscall",
    "TaintError",
    "TimeoutError",
    "ToolCall",
    "ToolError",
    "UnknownOutcomeError",
    "Verification",
]
