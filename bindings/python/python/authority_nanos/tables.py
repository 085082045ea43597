"""The kernel's tables of codes and operations as enums, made from the tables of the native module."""

from enum import IntEnum

from . import _native

ErrorCode = IntEnum(
    "ErrorCode",
    [("OK", 0), *((name, number) for name, number, _ in _native.codes())],
    module=__name__,
)
ErrorCode.__doc__ = "Why a request failed; 0 where it did not."

Syscall = IntEnum("Syscall", _native.operations(), module=__name__)
Syscall.__doc__ = "The operations and their numbers, as in C and on the wire."
