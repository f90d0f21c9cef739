"""The files of the web page as they are served: joined, compressed once, and at an address that names their version."""

import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imageserver.api.page.joined import INDENTATION, join_modules, join_styles

INDEX = "index.html"
START = "main.js"
SCRIPT, STYLE = "page.js", "page.css"
MEDIA = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
GZIP_BITS = 16 + zlib.MAX_WBITS
# Short blocks, each with its own code: texts in two languages stand beside programs.
GZIP_MEMORY_LEVEL = 7
STYLE_LINK = re.compile(r' *<link rel="stylesheet" href="page/([^"]+)">\n')


@dataclass(frozen=True)
class PageFile:
    """A file with its media type and the ETag of its content."""

    content: bytes
    compressed: bytes
    media: str
    tag: str


class PageFiles:
    """The files below a folder by their names in addresses; nothing else can be requested.

    Each has two addresses: its own, and one that begins with the version, whose content never changes. The start page
    names the second ones, so that a browser asks for them once, and one script and one style sheet instead of all.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(path for path in folder.rglob("*") if path.suffix in MEDIA)
        contents = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in found}
        styles = STYLE_LINK.findall(contents[INDEX])
        contents[SCRIPT] = join_modules(START, contents)
        contents[STYLE] = join_styles(contents[name] for name in styles)
        self.version = _hash("".join(contents.values()).encode())[:12]
        contents[INDEX] = self._start_page(contents[INDEX])
        self._files = {name: _as_file(name, content.encode()) for name, content in contents.items()}

    def find(self, name: str) -> PageFile | None:
        """Return a file by either address."""
        return self._files.get(name.removeprefix(f"{self.version}/"))

    def is_versioned(self, name: str) -> bool:
        """Return whether an address names the version."""
        return name.startswith(f"{self.version}/")

    def _start_page(self, page: str) -> str:
        page = INDENTATION.sub("", STYLE_LINK.sub("", page)).replace(
            "</head>", f'  <link rel="stylesheet" href="page/{STYLE}">\n</head>'
        )
        page = page.replace(f'<script type="module" src="page/{START}">', f'<script defer src="page/{SCRIPT}">')
        return page.replace('="page/', f'="page/{self.version}/')


def _as_file(name: str, content: bytes) -> PageFile:
    packer = zlib.compressobj(9, wbits=GZIP_BITS, memLevel=GZIP_MEMORY_LEVEL)
    compressed = packer.compress(content) + packer.flush()
    return PageFile(content, compressed, MEDIA[PurePosixPath(name).suffix], _hash(content)[:32])


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
