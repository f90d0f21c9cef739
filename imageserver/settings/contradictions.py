"""Settings that are valid alone but not together."""

from typing import TYPE_CHECKING

from imageserver.web_addresses import ANY, entries, is_loopback, origin_of

if TYPE_CHECKING:
    from imageserver.settings import Settings

MIN_SECRET_CHARACTERS = 16


def contradiction_in(settings: "Settings") -> str | None:
    """Return one sentence about two settings, without any secret, or None."""
    if settings.offline and settings.hf_auth != "off":
        return f"HF_AUTH={settings.hf_auth} must ask the hub who owns a token, but OFFLINE=1 never uses a network."
    if settings.hf_users and settings.hf_auth == "off":
        return "HF_USERS has no effect with HF_AUTH=off: set HF_AUTH=read or any."
    if settings.compile and settings.cuda_graphs:
        return "COMPILE=1 and CUDA_GRAPHS=1 exclude each other: only forwards that are not compiled are captured."
    width, height = settings.default_width, settings.default_height
    if (width is None) != (height is None):
        return "DEFAULT_WIDTH and DEFAULT_HEIGHT belong together: set both or neither."
    if width and height and width * height > settings.max_pixels:
        return f"DEFAULT_WIDTH x DEFAULT_HEIGHT is {width}x{height}, more than MAX_PIXELS={settings.max_pixels}."
    if ANY in entries(settings.allowed_origins) and not settings.asks_for_keys:
        return "ALLOWED_ORIGINS=* would let every web page use this server: set API_KEYS too, or list the origins."
    if settings.webhook_secret and len(settings.webhook_secret) < MIN_SECRET_CHARACTERS:
        return f"WEBHOOK_SECRET is too short: it must have at least {MIN_SECRET_CHARACTERS} characters."
    return (
        _contradiction_of_devices(settings)
        or _contradiction_of_enhancement(settings)
        or _contradiction_of_manifests(settings)
        or _contradiction_of_models(settings)
        or _contradiction_of_machines(settings)
    )


def _contradiction_of_devices(settings: "Settings") -> str | None:
    if settings.devices and "device" in settings.model_fields_set:
        return f"DEVICE={settings.device} and DEVICES={settings.devices} exclude each other: set one of them."
    if "," in settings.device or "+" in settings.device:
        return f"DEVICE={settings.device} names several devices: set DEVICES to them, and DEVICE not at all."
    if settings.num_worker_processes > 1 and ":" in settings.device:
        return (
            f"DEVICE={settings.device} is one card, but NUM_WORKER_PROCESSES={settings.num_worker_processes} wants "
            "several: set DEVICE=cuda, or DEVICES to a list."
        )
    return None


def _contradiction_of_enhancement(settings: "Settings") -> str | None:
    origin = origin_of(settings.enhance_url)
    if origin is not None and settings.offline and not is_loopback(origin.host.name):
        return "ENHANCE_URL names another machine, but OFFLINE=1 never uses a network."
    if origin is None and (settings.enhance_key or settings.enhance_model):
        return "ENHANCE_KEY and ENHANCE_MODEL have no effect without ENHANCE_URL: set it too."
    return None


def _contradiction_of_manifests(settings: "Settings") -> str | None:
    if (settings.c2pa_cert is None) != (settings.c2pa_key is None):
        return "C2PA_CERT and C2PA_KEY belong together: set both or neither."
    if settings.c2pa_cert is not None and not settings.provenance:
        return "C2PA_CERT says where every image comes from, but PROVENANCE=off says nothing: set one of them."
    return None


def _contradiction_of_models(settings: "Settings") -> str | None:
    if settings.transformer_file and settings.model == "auto":
        return "TRANSFORMER_FILE is the transformer of one model, and MODEL=auto may choose another: set MODEL too."
    names = settings.controlnet_names
    for name in names:
        if names.count(name) > 1:
            return (
                f"CONTROLNET names {name} twice, by which requests choose one: give the folders different last parts."
            )
    return None


def _contradiction_of_machines(settings: "Settings") -> str | None:
    if settings.devices == "none" and not settings.cluster:
        return "DEVICES=none leaves no device to generate on: set CLUSTER too, or other DEVICES."
    if settings.scale_up_wait and not settings.max_engines:
        return f"SCALE_UP_WAIT={settings.scale_up_wait:g} asks for machines without end: set MAX_ENGINES too."
    if settings.max_engines and settings.min_engines > settings.max_engines:
        return f"MIN_ENGINES={settings.min_engines} is more than MAX_ENGINES={settings.max_engines}."
    return None
