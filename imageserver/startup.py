"""What a user sees at the start: one banner, or one clear sentence why there is none."""

import errno
import socket

from imageserver.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def require_free_port(settings: Settings) -> None:
    """Exit with one sentence when the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"Port {settings.port} is already in use"
                advice = (
                    f"stop the other program, or choose another port: PORT={settings.port + 1} bash start_server.sh"
                )
            elif error.errno == errno.EACCES:
                reason = f"Port {settings.port} may not be used by this user"
                advice = "choose one above 1023: PORT=5000 bash start_server.sh"
            else:
                reason = f"The server cannot listen on HOST={settings.host} ({error.strerror})"
                advice = "HOST must be an address of this machine, for instance 127.0.0.1"
            raise SystemExit(f"{reason}: {advice}") from None


def banner(settings: Settings) -> str:
    """Return the lines that say where the server is, what it will draw with, and how to change that."""
    host = "localhost" if settings.host in LOOPBACK or settings.host in ("0.0.0.0", "::") else settings.host
    url = f"http://{host}:{settings.port}"
    body = '{"prompt":"a red circle on a blue background"}'
    example = f"curl -X POST {url}/generate -H 'Content-Type: application/json' -d '{body}' --output image.png"
    lines = [
        f"qwen-image-server  {url}",
        f"model  {settings.model}   device  {settings.device}   (MODEL=… DEVICE=… PORT=… or .env; see .env.example)",
        f"try  {example}",
        "stop with Ctrl+C",
    ]
    if settings.host not in LOOPBACK:
        lines.insert(
            1, f"WARNING: HOST={settings.host} lets everybody on the network use this server; there are no keys."
        )
    width = max(len(line) for line in lines)
    return "\n".join(["-" * width, *lines, "-" * width])
