"""Where the server listens, whom it answers, and how long it waits for a connection."""

from typing import Annotated

from pydantic import AfterValidator, AliasChoices, BaseModel, Field

from imageserver.web_addresses import checked_host_patterns, checked_networks, checked_origins, checked_public_url


class NetworkSettings(BaseModel):
    """Where the server listens, whom it answers, and how long it waits for a connection."""

    host: str = Field(
        "127.0.0.1",
        validation_alias=AliasChoices("HOST", "COGVIEW4_HOST"),
        description="Address to listen on; 0.0.0.0 opens the server to the network, with API_KEYS or ALLOW_OPEN.",
    )
    port: int = Field(
        5000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("PORT", "COGVIEW4_PORT"),
        description="TCP port to listen on.",
    )
    allow_open: bool = Field(
        False, description="1 lets a server without keys listen on the network, where everybody can use it."
    )
    allowed_hosts: Annotated[str, AfterValidator(checked_host_patterns)] = Field(
        "",
        description="Host names that a server without keys answers to besides this machine's own, comma-separated; "
        "*.example allows every name below example, * any name.",
    )
    allowed_origins: Annotated[str, AfterValidator(checked_origins)] = Field(
        "",
        description="Origins whose web pages may use the server, comma-separated, such as https://app.example; * "
        "allows every page, with keys only.",
    )
    public_url: Annotated[str, AfterValidator(checked_public_url)] = Field(
        "",
        description="Address of the server as clients see it behind a proxy, such as https://images.example/path: its "
        "host and origin are allowed, the addresses of saved images begin with it, and its path may precede every "
        "other.",
    )
    trusted_proxies: Annotated[str, AfterValidator(checked_networks)] = Field(
        "",
        description="Addresses or networks of proxies, or unix, comma-separated: their X-Forwarded-For, -Host, -Proto, "
        "-Port and -Prefix, or Forwarded, are believed, and nobody else's.",
    )
    max_connections_per_address: int = Field(
        500, ge=0, description="Maximum number of connections of one address to a worker, which has 1000; 0 sets none."
    )
    max_body_mb: float = Field(32.0, gt=0, description="Maximum size of a request body, in MiB.")
    max_arriving_mb: float = Field(
        512.0,
        gt=0,
        description="Maximum size of all bodies and WebSocket messages together that are still arriving, in MiB; "
        "divided among WORKERS, each with room for four of MAX_BODY_MB at least. Beyond it, the address that holds "
        "most gives one up.",
    )
    max_waiting_mb: float = Field(
        1024.0,
        gt=0,
        description="Maximum size of all bodies of 64 KiB or more together that have arrived and wait for their "
        "answers, of pixels that wait for ENHANCE_URL, and of answers that are being sent, in MiB; divided among "
        "WORKERS, each with room for four of MAX_BODY_MB at least. One address has three quarters of it, and what "
        "finds no room is refused with 429.",
    )
    body_timeout: float = Field(60.0, gt=0, description="Seconds within which a request's body must arrive.")
    send_timeout: float = Field(
        120.0,
        ge=1,
        le=86400,
        description="Seconds after which the server disconnects a client that stops reading its response.",
    )
