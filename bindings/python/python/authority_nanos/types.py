"""What goes into the kernel's methods and comes out of them, where a plain Python type would not say enough."""

import json
from dataclasses import dataclass, field
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple, Union

__all__ = [
    "AuthorizationDetails",
    "DenialInfo",
    "EffectRequest",
    "EffectResponse",
    "HttpResponse",
    "InferenceRequest",
    "ToolCall",
    "Verification",
]


@dataclass(frozen=True)
class DenialInfo:
    """Why the gate said no. To an agent session only the class of reason is told; ``trace_id`` leads the owner
    to the rest."""

    op: str
    target: str
    reason: str
    reason_code: str
    code: int
    missing_cap: str
    suggested_snippet: str
    rule_id: str
    args_path: str
    trace_id: str
    timestamp: int

    @property
    def operation(self) -> str:
        """The operation that was denied."""
        return self.op

    @property
    def capability_required(self) -> Optional[str]:
        """The capability that would cover it."""
        return self.missing_cap or None

    @property
    def suggestion(self) -> Optional[str]:
        """A ``[[rule]]`` that, appended to the policy, permits exactly this request."""
        return self.suggested_snippet or None


@dataclass(frozen=True)
class AuthorizationDetails:
    """What ``authorize_details`` found."""

    operation: str
    target: str
    authorized: bool
    capability_name: Optional[str] = None
    ttl_ms: Optional[int] = None
    reason: Optional[str] = None
    rule_id: Optional[str] = None
    suggestion: Optional[str] = None


@dataclass(frozen=True)
class Verification:
    """What ``audit_verify`` found. True if and only if the log is consistent.

    ``first_bad`` is the first entry that is wrong, and ``reason`` says in what way; ``replayed`` entries were
    re-executed and follow, ``opaque`` ones could not be because a body was erased or pruned, ``not_replayed`` ones were
    written by an earlier version, which re-executes them; ``verified_to`` entries were looked at; ``signed_by`` names the key given if it is the one that signs
    for this log, ``anchored_at`` is the size of the log in the anchor; ``rests_on`` says what the finding rests on.
    """

    consistent: bool
    signed_by: Optional[str] = None
    anchored_at: Optional[int] = None
    first_bad: Optional[int] = None
    replayed: Optional[int] = None
    opaque: Optional[int] = None
    not_replayed: Optional[int] = None
    verified_to: Optional[int] = None
    reason: Optional[str] = None
    rests_on: Optional[str] = None

    def __bool__(self) -> bool:
        return self.consistent


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP response; headers in the order in which they came."""

    status: int
    headers: Sequence[Tuple[str, str]]
    body: bytes

    def header(self, name: str) -> Optional[str]:
        """The first header with this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class ToolCall(NamedTuple):
    """A tool and its arguments, for ``tool_call``."""

    tool_name: str
    args_json: Union[bytes, str, Dict[str, Any]] = b"{}"


class InferenceRequest(Dict[str, Any]):
    """A chat-completions request, for ``inference``: a dict with the members that OpenAI's format has."""

    def __init__(self, model: str, prompt: str, max_tokens: int = 1000, **others: Any) -> None:
        super().__init__(model=model, messages=[{"role": "user", "content": prompt}], max_tokens=max_tokens, **others)


class EffectRequest(NamedTuple):
    """Any operation by its number, with arguments in their wire form, for ``syscall``."""

    op: int
    args: Union[bytes, str, Dict[str, Any]] = b"{}"


@dataclass(frozen=True)
class EffectResponse:
    """What ``syscall`` gives: ``err`` is 0 or a code, ``result`` the result or the error as JSON."""

    err: int
    result: bytes = field(repr=False)
