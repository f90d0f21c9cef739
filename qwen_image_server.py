"""qwen-image-server: the Flask entry that gunicorn loads, and the command line.

gunicorn -c gunicorn_config.py qwen_image_server:app     serve with gunicorn (Linux, macOS)
python qwen_image_server.py serve                        serve with gevent's own server (also Windows)
python qwen_image_server.py generate "a red circle"      draw one picture, no server needed
"""

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from imageserver.generation import ModelFacts
    from imageserver.settings import Settings


def create_app(settings: "Settings", owner: int) -> "Flask":
    """Build the application; `owner` is the process whose life the dispatcher follows."""
    from flask import Flask

    from imageserver import startup
    from imageserver.api import routes
    from imageserver.api.attempts import Attempts
    from imageserver.api.current import EXTENSION
    from imageserver.api.dialects.tasks import deliveries, runner
    from imageserver.api.keyring import read_keyring
    from imageserver.api.native_pool import NativePool
    from imageserver.api.request_ids import RequestIds
    from imageserver.api.services import Services
    from imageserver.dispatch.client import DispatchClient
    from imageserver.dispatch.rendezvous import Rendezvous
    from imageserver.lora_folder import open_folder
    from imageserver.outputs.cache import OutputCache
    from imageserver.outputs.folder import OutputFolder
    from imageserver.outputs.task_store import TaskStore
    from imageserver.outputs.webhook_store import WebhookStore
    from imageserver.telemetry.logs import configure_logging

    configure_logging(settings)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_body_mb * 2**20)
    # A form may carry its picture as text.
    app.config["MAX_FORM_MEMORY_SIZE"] = app.config["MAX_CONTENT_LENGTH"]
    rendezvous = Rendezvous(owner)

    def announce(facts: "ModelFacts") -> None:
        if rendezvous.is_first_to_announce():
            startup.say(startup.banner(settings, facts))

    # What asks other servers takes 0.1 s to import, which only those who use it pay for.
    hub_tokens = webhooks = None
    if settings.hf_auth != "off":
        from imageserver.api.hub_tokens import read_hub_tokens

        hub_tokens = read_hub_tokens(settings)
    if settings.webhook_secret:
        from imageserver.api.webhooks import read_webhooks

        webhooks = read_webhooks(settings)
    services = Services(
        settings=settings,
        client=DispatchClient(settings, rendezvous, on_ready=announce),
        outputs=OutputFolder(
            settings.resolve(settings.output_dir), max_mb=settings.tmp_max_mb, max_age=settings.tmp_max_age
        ),
        cache=OutputCache(settings.resolve(settings.state_dir) / "answers", max_mb=settings.cache_max_mb),
        native_pool=NativePool(settings.threads),
        request_ids=RequestIds(settings.resolve(settings.state_dir)),
        attempts=Attempts(settings.resolve(settings.state_dir)),
        tasks=TaskStore(settings.resolve(settings.state_dir), ttl=settings.task_ttl),
        webhook_store=WebhookStore(settings.resolve(settings.state_dir)),
        webhooks=webhooks,
        keyring=read_keyring(settings),
        hub_tokens=hub_tokens,
        loras=open_folder(settings),
    )
    app.extensions[EXTENSION] = services
    routes.register(app, settings)
    services.start()
    runner.start(app)
    deliveries.start(app)
    return app


def __getattr__(name: str) -> Any:
    """Build `app` when gunicorn asks for it: importing this file has no side effects."""
    if name != "app":
        raise AttributeError(name)
    from imageserver.settings import load_settings

    # Under gunicorn the arbiter is our parent, and every worker of one server has the same.
    globals()["app"] = create_app(load_settings(), owner=os.getppid())
    return globals()["app"]


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit status."""
    from imageserver import commands

    return commands.run(arguments, create_app)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
