"""A small hub of datasets: a real HTTP server that speaks what a push needs, and remembers what it was sent."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TOKEN = "hf_" + "Zx9" * 11
COMMIT = "c" * 40


@dataclass
class Hub:
    """Repositories of the owner acme, for the one token that it knows."""

    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    """By their hash, as they were uploaded."""
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        if path.startswith("/large/"):  # as at a store of files: the address itself is the right to write there
            self.large[path.removeprefix("/large/")] = body
            return 200, {}
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        name = "/".join(path.removeprefix("/api").removeprefix("/datasets/").split("/")[:2]).removesuffix(".git")
        if name not in self.private:
            return 404, {"error": "Repository not found"}
        return self.of_repository(name, path, body)

    def create(self, said: dict[str, Any]) -> tuple[int, Any]:
        name = f"{said['organization']}/{said['name']}"
        if said["organization"] != "acme":
            return 403, {"error": "You don't have the rights to create a dataset under this namespace"}
        if name in self.private:
            return 409, {"error": "You already created this dataset repo", "url": f"{self.address}/datasets/{name}"}
        self.private[name] = said["visibility"] == "private"
        self.files[name] = {}
        return 200, {"url": f"{self.address}/datasets/{name}", "name": name, "id": name}

    def of_repository(self, name: str, path: str, body: bytes) -> tuple[int, Any]:
        if path.endswith("/preupload/main"):
            wanted = [
                {"path": item["path"], "uploadMode": mode(item["path"]), "shouldIgnore": False}
                for item in json.loads(body)["files"]
            ]
            return 200, {"files": wanted}
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**item, "actions": {"upload": {"href": f"{self.address}/large/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if path.endswith("/commit/main"):
            return self.commit(name, [json.loads(line) for line in body.splitlines()])
        if "/tree/" in path:
            tree = [
                {"type": "file", "path": key, "size": len(content), "oid": "0" * 40}
                for key, content in self.files[name].items()
            ]
            return 200, tree
        return 200, {"id": name, "private": self.private[name], "sha": "a" * 40, "siblings": [], "tags": []}

    def commit(self, name: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        held = self.files[name]
        for line in lines:
            said = line["value"]
            if line["key"] == "file":
                held[said["path"]] = base64.b64decode(said["content"])
            elif line["key"] == "lfsFile":
                content = self.large[said["oid"]]
                assert hashlib.sha256(content).hexdigest() == said["oid"] and len(content) == said["size"]
                held[said["path"]] = content
            elif line["key"] == "deletedFile":
                del held[said["path"]]
        address = f"{self.address}/datasets/{name}/commit/{COMMIT}"
        return 200, {"success": True, "commitOid": COMMIT, "commitUrl": address}


def mode(path: str) -> str:
    return "lfs" if path.startswith("data/") else "regular"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    def whole_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def respond(self) -> None:
        body = self.whole_body()
        path = urlsplit(self.path).path
        status, said = self.server.hub.answer(self.command, path, self.headers.get("Authorization", ""), body)
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = respond


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub, hub.address = hub, f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
