"""The types of arguments and results that are not built into Python."""

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
    "Lint",
    "ToolCall",
    "Verification",
]


@dataclass(frozen=True)
class DenialInfo:
    """Why the gate denied a request. An agent session receives only the class of the reason; the owner finds the rest in
    the log under ``trace_id``."""

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
        """The capability that would cover the request; None if no capability is missing."""
        return self.missing_cap or None

    @property
    def suggestion(self) -> Optional[str]:
        """A ``[[rule]]`` that, appended to the policy, permits exactly this request; None if there is none."""
        return self.suggested_snippet or None


@dataclass(frozen=True)
class Lint:
    """A warning about one rule of a policy: the rule's id, the check that found it, and one sentence."""

    rule_id: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"'{self.rule_id}': {self.text}"


@dataclass(frozen=True)
class AuthorizationDetails:
    """The result of ``authorize_details``: the decision on a request that was not made. ``lints`` are warnings about the rule
    that decided; an agent session gets none."""

    operation: str
    target: str
    authorized: bool
    capability_name: Optional[str] = None
    ttl_ms: Optional[int] = None
    reason: Optional[str] = None
    rule_id: Optional[str] = None
    suggestion: Optional[str] = None
    lints: Sequence[Lint] = ()


@dataclass(frozen=True)
class Verification:
    """The result of ``audit_verify``. True if and only if the log is consistent.

    ``verified_to`` is the number of entries examined. Of these, ``replayed`` were re-executed with the same result, ``opaque``
    could not be re-executed because a body was erased or pruned, and ``not_replayed`` were written by an earlier version, which
    can re-execute them. ``first_bad`` is the first invalid entry, and ``reason`` says what is invalid. ``signed_by`` is the given
    key if it signs for this log, ``anchored_at`` the size of the log in the anchor. ``rests_on`` says in words which entries the
    anchor secures, or that the log is unanchored.
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
    """An HTTP response; headers in the order of the response."""

    status: int
    headers: Sequence[Tuple[str, str]]
    body: bytes

    def header(self, name: str) -> Optional[str]:
        """The value of the first header with this name, ignoring case; None if there is none."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The value of the body, which must be JSON."""
        return json.loads(self.body)


class ToolCall(NamedTuple):
    """A tool and its arguments, for ``tool_call``."""

    tool_name: str
    args_json: Union[bytes, str, Dict[str, Any]] = b"{}"


class InferenceRequest(Dict[str, Any]):
    """A chat-completions request for ``inference``: a dict with the members of OpenAI's format."""

    def __init__(self, model: str, prompt: str, max_tokens: Optional[int] = None, **others: Any) -> None:
        super().__init__(model=model, messages=[{"role": "user", "content": prompt}], **others)
        if max_tokens is not None:
            self["max_tokens"] = max_tokens


class EffectRequest(NamedTuple):
    """An operation by its number, with arguments in their wire form, for ``syscall``."""

    op: int
    args: Union[bytes, str, Dict[str, Any]] = b"{}"


@dataclass(frozen=True)
class EffectResponse:
    """The result of ``syscall``: ``err`` is 0 or an error code, ``result`` the result or the error as JSON."""

    err: int
    result: bytes = field(repr=False)
