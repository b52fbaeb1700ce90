"""Whether `--debug` was given, for commands that otherwise make a note of an exception and go on."""

from contextvars import ContextVar

DEBUG: ContextVar[bool] = ContextVar("DEBUG", default=False)
