"""A real nginx with deploy/nginx.conf."""

import os

from tests.support.proxy import Proxy, executable_of

FRAME = """{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


class Nginx(Proxy):
    """nginx with TLS for HOST."""

    name, executable = "nginx", executable_of("nginx")
    configuration = "nginx.conf"

    def replaced(self) -> dict[str, str]:
        return {
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "/etc/ssl/certs/images.example.pem": str(self.certificate),
            "/etc/ssl/private/images.example.key": str(self.key),
        }

    def command(self) -> list[str]:
        # Root's workers would be of a user who may not enter the folder.
        user = "user root;" if os.name == "posix" and os.geteuid() == 0 else ""
        frame = self.folder / "nginx.conf"
        frame.write_text(FRAME.format(user=user, folder=self.folder))
        assert self.executable is not None
        return [self.executable, "-p", str(self.folder), "-c", str(frame), "-e", str(self.log)]
