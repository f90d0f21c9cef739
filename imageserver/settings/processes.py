"""The processes of the server: how many, how long they wait, what they log."""

from typing import Literal

from pydantic import BaseModel, Field

from imageserver.settings.env_file import UserPath


class ProcessSettings(BaseModel):
    """The processes of the server: how many, how long they wait, what they log."""

    workers: int = Field(1, ge=1, le=64, description="HTTP worker processes; they share one queue and one model.")
    threads: int = Field(
        4,
        ge=1,
        le=64,
        description="Native threads per worker for overlay, encoding and files; waiting requests need none.",
    )
    graceful_timeout: int = Field(
        120, ge=2, description="Seconds that running generations get to finish when the server stops."
    )
    step_timeout: float = Field(
        60.0, gt=0, description="Minimum number of seconds without a sign of life before an engine is restarted."
    )
    load_stall_timeout: float = Field(
        300.0,
        gt=0,
        description="Seconds without any progress (messages, processor time, bytes) after which an engine that loads a "
        "model is restarted.",
    )
    dispatcher_transport: Literal["auto", "unix", "tcp"] = Field(
        "auto",
        description="How the processes communicate: unix (a socket file) or tcp (loopback with a key); auto uses unix "
        "except on Windows.",
    )
    engine_module: str = Field(
        "imageserver.engine", description="Python module that runs as the engine process; tests use a fake one."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of the log lines: text for people, json for machines."
    )
    log_file: UserPath | None = Field(
        None, description="File that the log is written to as well; a full one becomes LOG_FILE.1."
    )
    log_file_max_mb: float = Field(
        100.0, gt=0, description="Maximum size of LOG_FILE and of LOG_FILE.1 each, in MiB, however much is logged."
    )
    log_prompts: bool = Field(
        True, description="0 keeps prompts out of the log, of traces and of the list of other clients' jobs."
    )
    otel_exporter_otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Address of an OpenTelemetry collector that gets a trace of every generation by OTLP over HTTP, "
        "such as http://127.0.0.1:4318; empty makes none.",
    )
