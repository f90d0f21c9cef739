"""Log lines: readable or JSON, one event a line, each with the request it belongs to.

A JSON line has the fields timestamp, level, name, message and request_id, and those of the event.
"""

import contextvars
import logging
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from imageserver.settings import Settings
from imageserver.telemetry.log_file import LogFile

logger = logging.getLogger(__name__)

current_request: contextvars.ContextVar[int | None] = contextvars.ContextVar("current_request", default=None)
# The name of the client's key; empty where no keys are required.
current_credential: contextvars.ContextVar[str] = contextvars.ContextVar("current_credential", default="")
# The id of the generation's trace, or of the one that its client named; empty without both.
current_trace: contextvars.ContextVar[str] = contextvars.ContextVar("current_trace", default="")

REDACTED = "[redacted]"
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class ClientText(str):
    """An argument of a line that may have a client's own words."""

    __slots__ = ()


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
        if not self._prompts:
            _redact(record)
        return True


def _redact(record: logging.LogRecord) -> None:
    if hasattr(record, "prompt"):
        record.prompt = REDACTED
    if isinstance(record.args, tuple):
        record.args = tuple(REDACTED if isinstance(each, ClientText) else each for each in record.args)


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


def log_fields_of(request_id: int, trace_id: str) -> dict[str, object]:
    """Return the fields of a line about a request that is not the current one, as one of several that run together."""
    return {"request_id": request_id} | ({"trace_id": trace_id} if trace_id else {})


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


def require_log_file(settings: Settings) -> None:
    """Exit with one sentence where LOG_FILE cannot be opened."""
    if settings.log_file is None:
        return
    try:
        _log_file(settings, settings.log_file).close()
    except OSError as error:
        raise SystemExit(
            f"LOG_FILE={settings.log_file} cannot be written ({error.strerror}): "
            "choose a file in a folder that the server's user may write."
        ) from None


def _log_file(settings: Settings, path: Path) -> LogFile:
    return LogFile(settings.resolve(path), int(settings.log_file_max_mb * 2**20))


def configure_logging(settings: Settings) -> None:
    """Send this process's log to standard error, and to LOG_FILE, in the format of LOG_FORMAT.

    Where that cannot be opened any more, the process goes on without it: it may be a worker that replaces another.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    refusal = ""
    if settings.log_file is not None:
        try:
            handlers.append(_log_file(settings, settings.log_file))
        except OSError as error:
            refusal = error.strerror or type(error).__name__
    for handler in handlers:
        handler.addFilter(_RequestFilter(prompts=settings.log_prompts))
        handler.setFormatter(_formatter(settings.log_format))
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(settings.log_level)
    if refusal:
        logger.warning("LOG_FILE cannot be written (%s): this process logs to standard error only.", refusal)
    for noisy in ("urllib3", "filelock", "asyncio", "modelscope", "aiobotocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
