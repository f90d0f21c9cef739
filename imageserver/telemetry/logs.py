"""Log lines: readable or JSON, one event a line, each with the request it belongs to.

A JSON line has the fields timestamp, level, name, message and request_id, and those of the event.
"""

import contextvars
import logging
import re
import sys
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

from imageserver.settings import Settings
from imageserver.telemetry.log_file import LogFile

current_request: contextvars.ContextVar[int | None] = contextvars.ContextVar("current_request", default=None)
# The name of the client's key; empty where no keys are required.
current_credential: contextvars.ContextVar[str] = contextvars.ContextVar("current_credential", default="")
# The id of the generation's trace; empty where none is made.
current_trace: contextvars.ContextVar[str] = contextvars.ContextVar("current_trace", default="")

REDACTED = "[redacted]"
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _RequestFilter(logging.Filter):
    """Adds the current request's id, unless the call named one, its client and its trace; without prompts if wanted."""

    def __init__(self, *, prompts: bool) -> None:
        super().__init__()
        self._prompts = prompts

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id"):
            record.request_id = current_request.get()
        if credential := current_credential.get():
            record.credential = credential
        if trace := current_trace.get():
            record.trace_id = trace
        if not self._prompts and hasattr(record, "prompt"):
            record.prompt = REDACTED
        return True


class TextFormatter(logging.Formatter):
    """`12:00:00 INFO req 5 of ann api.native: sentence`; line breaks are escaped, so that a prompt cannot forge one."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        number = getattr(record, "request_id", None)
        request = f" req {number}" if number is not None else ""
        if credential := getattr(record, "credential", ""):
            request += f" of {credential}"
        name = record.name.removeprefix("imageserver.")
        line = f"{when} {record.levelname}{request} {name}: {escape(record.getMessage())}"
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line


class _JsonLines(JsonFormatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return datetime.fromtimestamp(record.created, UTC).isoformat()


def escape(text: str) -> str:
    """Return `text` with control characters and lone surrogates written as escapes."""
    text = CONTROL_CHARACTERS.sub(lambda match: match.group().encode("unicode_escape").decode(), text)
    return text.encode("utf-8", "backslashreplace").decode()


def _formatter(log_format: str) -> logging.Formatter:
    if log_format == "text":
        return TextFormatter()
    return _JsonLines(
        "{asctime}{levelname}{name}{message}{request_id}",
        style="{",
        rename_fields={"asctime": "timestamp", "levelname": "level"},
        json_ensure_ascii=True,
    )


def configure_logging(settings: Settings) -> None:
    """Send this process's log to standard error, and to LOG_FILE, in the format of LOG_FORMAT."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.log_file is not None:
        handlers.append(LogFile(settings.resolve(settings.log_file), int(settings.log_file_max_mb * 2**20)))
    for handler in handlers:
        handler.addFilter(_RequestFilter(prompts=settings.log_prompts))
        handler.setFormatter(_formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(settings.log_level)
    for noisy in ("urllib3", "filelock", "asyncio", "modelscope", "aiobotocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
