"""The built page and its assets, read once. An address is looked up among them and never becomes a path."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from fastapi import FastAPI, Request, Response

from clew import files
from clew.web.errors import NotFoundError

STATIC = Path(__file__).parent / "static"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


class Asset:
    """One file of the page, compressed once."""

    def __init__(self, path: Path) -> None:
        self.content = files.read_bytes(path)
        self.kind = _KINDS[path.suffix]
        self.compressed = gzip.compress(self.content, 9, mtime=0)
        self.tag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def answer(self, request: Request) -> Response:
        """The file, or 304 when the browser has it already."""
        head = {"ETag": self.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=head)
        if "gzip" in request.headers.get("accept-encoding", "") and len(self.compressed) < len(self.content):
            return Response(self.compressed, headers=head | {"Content-Encoding": "gzip"}, media_type=self.kind)
        return Response(self.content, headers=head, media_type=self.kind)


def assets() -> dict[str, Asset]:
    """Every file of the built page by its address."""
    paths = {"/": STATIC / "index.html"}
    paths |= {f"/{path.name}": path for path in STATIC.glob("favicon.*")}
    paths |= {f"/assets/{path.name}": path for path in sorted((STATIC / "assets").glob("*"))}
    return {address: Asset(path) for address, path in paths.items() if path.is_file() and path.suffix in _KINDS}


def show_page(app: FastAPI) -> None:
    """Serve the page at / and its assets."""
    by_address = assets()

    @app.get("/{address:path}", include_in_schema=False)
    def page(request: Request, address: str) -> Response:
        asset = by_address.get(f"/{address}")
        if asset is None:
            what = "the page is not built: run make page" if not address else f"there is nothing at /{address[:100]}"
            raise NotFoundError(what)
        return asset.answer(request)
