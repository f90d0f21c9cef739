"""A reload of gunicorn (SIGHUP) that changes nothing but says why where the server could not go on with the settings.

Without it, a wrong setting would end the server, or leave it open to the network.
"""

from typing import Any

from imageserver import startup
from imageserver.api.credentials.accepted_keys import AcceptedKeys
from imageserver.api.credentials.api_keys import require_entries
from imageserver.cli.worker_user import as_worker
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.outputs.object_store.requirement import require_filesystem
from imageserver.outputs.state_check import check_state
from imageserver.settings import Settings
from imageserver.settings.source import load_settings
from imageserver.telemetry.logs import require_log_file


class GuardedReload:
    """In place of the method of gunicorn's main process, which runs with some `settings`."""

    def __init__(self, server: Any, settings: Settings) -> None:
        self._server = server
        self._reload = server.reload
        self._settings = settings

    def __call__(self) -> None:
        try:
            settings = self._accept()
        except SystemExit as complaint:
            startup.say(f"Not reloaded: everything stays as it was. {complaint}")
            return
        except Exception as error:
            # What no check foresaw would end gunicorn's main process too.
            startup.say(f"Not reloaded: everything stays as it was. {type(error).__name__}: {error}")
            return
        self._settings = settings
        self._reload()

    def _accept(self) -> Settings:
        """Return the settings that the server can go on with, their keys kept; exit with one sentence otherwise."""
        settings = load_settings()
        # And where it listens by now: with `--bind`, also one that equals HOST:PORT, gunicorn stays there.
        startup.require_closed(settings, [settings.host, *listening_hosts(self._server)])
        self._require_address(settings)
        require_filesystem(settings)
        with as_worker(self._server):
            keys = AcceptedKeys(RuntimeDir(self._server.pid).keys_file(settings.api_keys_file))
            entries = require_entries(settings)
            self._require_state(settings)
            require_log_file(settings)
            # After all that may refuse: workers that start after a refused reload have the secrets from before it.
            self._server.secrets.accept(settings)
            keys.keep(entries)
        return settings

    def _require_address(self, settings: Settings) -> None:
        """Exit with one sentence where gunicorn, which closes its old address first, could not listen on the other."""
        if not self._moves(settings):
            return
        if settings.port != self._settings.port:
            startup.require_free_port(settings)
            return
        startup.require_free_port(settings.model_copy(update={"port": 0}))
        try:
            startup.require_free_port(settings)
        except SystemExit:
            # The old workers hold it until they end.
            raise SystemExit(
                f"HOST={settings.host} needs a restart, or another PORT: this server itself uses port {settings.port}."
            ) from None

    def _require_state(self, settings: Settings) -> None:
        # Not while it is in use: a damaged database would be set aside under the workers.
        if settings.state_dir != self._settings.state_dir and (
            warning := check_state(settings.resolve(settings.state_dir))
        ):
            startup.say(warning)

    def _moves(self, settings: Settings) -> bool:
        """Return whether the server will listen elsewhere; with `--bind` the settings do not say where it listens."""
        old = startup.address(self._settings)
        return self._server.cfg.bind == [old] and startup.address(settings) != old


def listening_hosts(server: Any) -> list[str]:
    """Return the hosts that gunicorn listens on, wherever they come from: settings, `--bind` or systemd."""
    names = [listener.getsockname() for listener in server.LISTENERS]
    return [name[0] for name in names if isinstance(name, tuple)]
