"""A hub on this machine: as much of Hugging Face as a download of a snapshot asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves `ROOT/models/USER/REPO` and `ROOT/datasets/USER/REPO`, each at one commit."""

    root: Path

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """A listing, or a file."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """What a file is like."""
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        place = self.path.partition("?")[0].strip("/")
        if place.startswith("api/"):
            kind, user, name = place.split("/")[1:4]
            self._listing(self.root / kind / user / name, f"{user}/{name}")
            return
        repo, _, rest = place.partition("/resolve/")
        repo = repo if repo.startswith("datasets/") else f"models/{repo}"
        file = self.root / repo / rest.partition("/")[2]
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        etag = hashlib.sha256(content).hexdigest()
        self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body)

    def _listing(self, folder: Path, name: str) -> None:
        if not folder.is_dir():
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
        told = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        if "/tree/" in self.path:
            sizes = {file: (folder / file).stat().st_size for file in files}
            told = [
                {"type": "file", "path": file, "size": size, "oid": COMMIT}
                for file, size in sizes.items()
            ]
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _send(self, code: int, content: bytes, headers: dict[str, str], body: bool = True) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The address of a hub that serves a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfRoot", (Hub,), {"root": root}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
