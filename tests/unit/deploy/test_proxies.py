"""The proxies' configurations have the limits of the server's defaults."""

import re

from imageserver.settings import Settings
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"


def limit_in(name: str, pattern: str) -> str:
    return re.search(pattern, (DEPLOY / name).read_text(encoding="utf-8"))[1]


def test_both_proxies_pass_bodies_as_large_as_the_server_takes():
    limit = f"{Settings(_env_file=None).max_body_mb:g}"
    assert limit_in("nginx.conf", r"client_max_body_size (\d+)m;") == limit
    assert limit_in("Caddyfile", r"max_size (\d+)MiB") == limit


def test_nginx_waits_longer_than_the_longest_request():
    hours = int(limit_in("nginx.conf", r"proxy_read_timeout (\d+)h;"))
    assert 3600 * hours > Settings(_env_file=None).request_timeout


def test_both_proxies_close_idle_connections_before_the_server_does():
    import gunicorn_config

    assert int(limit_in("nginx.conf", r"keepalive_timeout (\d+)s;")) < gunicorn_config.keepalive
    assert int(limit_in("Caddyfile", r"keepalive (\d+)s")) < gunicorn_config.keepalive
