"""The start-up banner, or one clear sentence that says why the server cannot start."""

import errno
import socket
import sys
from collections.abc import Iterable

from imageserver.generation import ModelInfo
from imageserver.settings import START_COMMAND, Settings, env_file, variables_of
from imageserver.settings.env_file import unknown_names
from imageserver.web_addresses import is_loopback


def warn_of_unknown_settings() -> None:
    """Print a warning for every name in .env that is not a setting."""
    known = {name for field in Settings.model_fields for name in (field.upper(), *variables_of(field))}
    for sentence in unknown_names(env_file(), known):
        say(sentence)


def require_closed(settings: Settings, hosts: Iterable[str]) -> None:
    """Exit with one sentence when a host to listen on opens a server without keys, unless its owner wants that."""
    if settings.asks_for_keys or settings.allow_open:
        return
    for host in hosts:
        if not is_loopback(host):
            raise SystemExit(
                f"HOST={host} would open this server to the network, and it requires no key: "
                "set API_KEYS=KEY to require one, or ALLOW_OPEN=1 to let everybody use it."
            )


def require_free_port(settings: Settings) -> None:
    """Exit with one sentence when the server cannot listen on its address."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"Port {settings.port} is already in use"
                advice = f"stop the other program, or choose another port: PORT={settings.port + 1} {START_COMMAND}"
            elif error.errno == errno.EACCES:
                reason = f"This user may not use port {settings.port}"
                advice = f"choose a port above 1023: PORT=5000 {START_COMMAND}"
            else:
                reason = f"The server cannot listen on HOST={settings.host} ({error.strerror})"
                advice = "HOST must be an address of this machine, such as 127.0.0.1"
            raise SystemExit(f"{reason}: {advice}") from None
        except (TypeError, ValueError):
            # Python refuses to look it up.
            sentence = f"The server cannot listen on HOST={settings.host}: it cannot be the name of a machine"
            raise SystemExit(f"{sentence}; 127.0.0.1 is this one") from None


def greeting(settings: Settings) -> str:
    """Return the line that is printed before the model is loaded."""
    return f"qwen-image-server listens on {url(settings)}; the model is loading."


def banner(settings: Settings, info: ModelInfo) -> str:
    """Return the banner: the address, the model and device, why these were chosen, and how to change them."""
    body = '{"prompt":"a red circle on a blue background"}'
    device, key = info.device, " -H 'Authorization: Bearer KEY'" if settings.asks_for_keys else ""
    example = (
        f"curl -X POST {url(settings)}/generate{key} -H 'Content-Type: application/json' -d '{body}' --output image.png"
    )
    lines = [
        f"qwen-image-server  {url(settings)}  (open it in a browser)",
        f"model   {info.name} ({info.parameters / 1e6:,.0f} million parameters). {info.reason}",
        f"device  {device.gpu}, {device.dtype}; loaded in {info.load_time:.1f} s. {device.memory_reason}",
        f"change  MODEL=… DEVICE=… PORT=… {START_COMMAND}, or edit .env; .env.example lists every setting",
        f"try     {example}",
        "stop    Ctrl+C",
    ]
    if not is_loopback(settings.host) and (warning := _warning(settings)):
        lines.insert(1, warning)
    width = max(len(line) for line in lines)
    return "\n".join(["-" * width, *lines, "-" * width])


def _warning(settings: Settings) -> str:
    """Return a warning about a server that the network can use too freely, or an empty string."""
    if not settings.asks_for_keys:
        return (
            f"WARNING HOST={settings.host} lets everybody on the network use this server; set API_KEYS to require keys."
        )
    if settings.hf_auth != "off" and not settings.hf_users:
        return f"WARNING HF_AUTH={settings.hf_auth} admits every account of the hub; set HF_USERS to restrict it."
    return ""


def address(settings: Settings) -> str:
    """Return HOST:PORT as gunicorn reads it, IPv6 in brackets."""
    return f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"


def say(text: str) -> None:
    """Print for the person who starts the server; standard output stays free for programs."""
    print(text, file=sys.stderr, flush=True)


def url(settings: Settings) -> str:
    """Return the server's URL for a browser on this machine."""
    host = "localhost" if is_loopback(settings.host) or settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
