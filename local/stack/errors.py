"""The errors of this package: what went wrong with the stack, in words for the person at the terminal."""

from __future__ import annotations


class StackError(Exception):
    """The stack can't be started, found or used; the message says why and what to do."""


class UsageError(StackError):
    """What was asked for doesn't exist or isn't allowed; nothing has been started."""
