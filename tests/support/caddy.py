"""A real Caddy with deploy/Caddyfile."""

from tests.support.certificate import HOST
from tests.support.proxy import Proxy, executable_of


class Caddy(Proxy):
    """Caddy with TLS for HOST, a certificate from a file, and no port but one."""

    name, executable = "caddy", executable_of("caddy")
    configuration = "Caddyfile"

    def replaced(self) -> dict[str, str]:
        return {
            "{\n\tservers": "{\n\tadmin off\n\tauto_https off\n\tservers",
            f"{HOST} {{\n": (f"https://{HOST}:{self.port} {{\n\tbind 127.0.0.1\n\ttls {self.certificate} {self.key}\n"),
        }

    def command(self) -> list[str]:
        assert self.executable is not None
        return [self.executable, "run", "--adapter", "caddyfile", "--config", str(self.folder / "site.conf")]
