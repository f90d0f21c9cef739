"""Behind a proxy, the server sees the request that the client sent, whether the proxy removes its path or not."""

import flask
import pytest

from imageserver.api.addresses import proxied_requests
from imageserver.api.wsgi import security_headers
from imageserver.settings import Settings

PREFIX = {"X-Forwarded-Prefix": "/qwen"}


def client_of(**settings):
    app = flask.Flask("proxied", static_folder=None)

    @app.route("/", methods=["GET", "POST"])
    @app.route("/images/<path:name>")
    def seen(name=""):
        request = flask.request
        return f"{request.scheme} {request.host} {request.script_root} {request.path}"

    security_headers.register(app)
    proxied_requests.register(app, Settings(_env_file=None, **settings))
    return app.test_client()


def test_a_trusted_proxy_replaces_scheme_and_host():
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example"}
    assert client_of(trusted_proxies="127.0.0.1").get("/", headers=headers).text == "https images.example  /"
    assert client_of().get("/", headers=headers).text == "http localhost  /"


@pytest.mark.parametrize("path", ["/images/1.png", "/qwen/images/1.png"])
def test_a_proxy_may_remove_its_path_or_leave_it(path):
    behind = client_of(trusted_proxies="127.0.0.1")
    assert behind.get(path, headers=PREFIX).text == "http localhost /qwen /images/1.png"
    public = client_of(public_url="https://images.example/qwen/")
    assert public.get(path).text.endswith(" /images/1.png")


def test_a_path_that_is_also_an_address_of_the_server_is_not_removed_twice():
    public = client_of(public_url="https://images.example/images")
    assert public.get("/images/images/1.png").text.endswith(" /images/images/1.png")
    assert public.get("/images/1.png").text.endswith(" /images/1.png")


@pytest.mark.parametrize(
    ("path", "target"), [("/qwen", "/qwen/"), ("/qwen?prompt=a%20cat&n=2", "/qwen/?prompt=a%20cat&n=2")]
)
def test_the_path_without_its_slash_leads_to_the_page(path, target):
    answer = client_of(public_url="https://images.example/qwen").get(path)
    assert (answer.status_code, answer.headers["Location"]) == (308, target)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_path_of_public_url_counts_and_no_other_that_a_client_made_up():
    made_up = {"X-Forwarded-Prefix": "/evil"}
    for public_url in ("https://images.example", "https://images.example/qwen"):
        behind = client_of(trusted_proxies="127.0.0.1", public_url=public_url)
        assert behind.get("/images/1.png", headers=made_up).text == "http localhost  /images/1.png"
    # The proxy has removed it.
    assert behind.get("/images/1.png", headers=PREFIX).text == "http localhost /qwen /images/1.png"


def test_paths_that_only_begin_alike_are_not_below_it():
    assert client_of(public_url="https://images.example/qwen").get("/qwenty/images/1.png").status_code == 404
