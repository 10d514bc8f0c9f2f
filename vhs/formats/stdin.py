"""Reading standard input, when a command was asked to."""

from __future__ import annotations

import sys

from vhs.errors import InputError, UsageError


def read_stdin(what: str) -> bytes:
    """All of stdin; `what` was expected there. Raises UsageError on a terminal, InputError when closed or empty."""
    if sys.stdin is None:
        raise InputError(f"stdin: is closed; {what} was expected there.")
    if sys.stdin.isatty():
        raise UsageError(f"stdin is a terminal; {what} was expected there. Pipe it in, or name a file.")
    data = sys.stdin.buffer.read()
    if not data:
        raise InputError(f"stdin: is empty, {what} was expected. Did the command before it fail?")
    return data


def is_safetensors() -> bool:
    """Whether stdin begins as a safetensors file does: the length of its header, then a brace. Nothing is consumed."""
    if sys.stdin is None or sys.stdin.isatty() or not hasattr(sys.stdin.buffer, "peek"):
        return False
    start = sys.stdin.buffer.peek(9)[:9]
    return len(start) == 9 and start[4:] == b"\0\0\0\0{"
