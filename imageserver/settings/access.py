"""Who may use the server, and how much of it."""

from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from imageserver.settings.env_file import UserPath


class AccessSettings(BaseModel):
    """Who may use the server, and how much of it."""

    api_keys: SecretStr | None = Field(
        None,
        description="Keys that clients must send, comma-separated, each KEY or NAME:KEY, with role=user after it if "
        "wanted; empty requires none.",
    )
    api_keys_file: UserPath | None = Field(
        None, description="File with one key per line; it is read again when it has changed."
    )
    hf_auth: Literal["off", "read", "any"] = Field(
        "off",
        description="Hugging Face tokens that grant access: off (none), read (tokens without write permission) or any; "
        "the server asks the hub who owns a token.",
    )
    hf_users: str = Field(
        "", description="Users and organisations of the hub that HF_AUTH admits, comma-separated; empty admits all."
    )
    rate_limit_rpm: int = Field(
        0,
        ge=0,
        description="Requests for images per minute that a key, or without keys an address, may send; 0 sets no limit.",
    )
    quota_seconds_per_hour: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Device seconds that the images of a key, or without keys of an address, may take in an hour; 0 "
        "sets no limit.",
    )
    quota_seconds_per_day: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Device seconds that they may take in a day (UTC); 0 sets no limit."
    )
