"""A server on this machine that speaks OpenNeuro's protocol, and can be told to misbehave."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

GRAPHQL = "graphql"
FOR_EVER = 10**9


@dataclass
class Fault:
    """What goes wrong with a file (or with ``GRAPHQL``), and how often.

    Attributes:
        kind: ``status``, ``cut``, ``stall``, ``whole`` (a range is ignored), ``wrong`` (other
            bytes of the same number), ``slow``, ``redirect``, ``no_etag`` or ``answer``.
        value: HTTP status; bytes sent before the cut or stall; seconds; a GraphQL answer.
    """

    kind: str
    value: Any = None
    times: int = 1
    methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One line of the server's log."""

    method: str
    path: str  # in the dataset, or GRAPHQL
    range: str | None = None


class OpenNeuroServer:
    """Serves versions of datasets: ``versions[accession][version][path]`` is a file's content."""

    def __init__(self) -> None:
        self.versions: dict[str, dict[str, dict[str, bytes]]] = {}
        self.listed_sizes: dict[str, int | None] = {}  # where the listing tells another size
        self.unlisted_urls: set[str] = set()  # paths that are listed without an address
        self.faults: dict[str, list[Fault]] = {}
        self.log: list[Request] = []
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(self))
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def publish(self, accession: str, version: str, files: Mapping[str, bytes]) -> None:
        self.versions.setdefault(accession, {})[version] = dict(files)

    def fail(self, path: str, kind: str, value: Any = None, **options: Any) -> None:
        self.faults.setdefault(path, []).append(Fault(kind, value, **options))

    def take_fault(self, path: str, method: str, kinds: str) -> Fault | None:
        """The first fault of these kinds that is left for this request."""
        with self.lock:
            for fault in self.faults.get(path, []):
                if fault.kind in kinds.split() and method in fault.methods and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def count(self, method: str, path: str) -> int:
        return sum((one.method, one.path) == (method, path) for one in self.log)

    def ranges(self, path: str) -> list[str | None]:
        """The ranges of all GET requests for a file; None asks for everything."""
        return [one.range for one in self.log if (one.method, one.path) == ("GET", path)]

    def environment(self, config: Path) -> dict[str, str]:
        """What points a process at this server."""
        return {
            "T1T2_OPENNEURO_API": f"{self.address}/crn/graphql",
            "XDG_CONFIG_HOME": str(config),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def answer(self, query: str) -> dict[str, Any]:
        """What GraphQL answers to the three queries that clients of OpenNeuro send."""
        names = re.findall(r'"([^"]*)"', query)
        versions = self.versions.get(names[0])
        if versions is None:
            errors = [{"message": "You do not have access to read this dataset."}]
            return {"data": {"dataset": None}, "errors": errors}
        if "snapshot(" in query:
            return {"data": {"snapshot": self.list_files(*names)}}
        if "latestSnapshot" in query:
            return {
                "data": {"dataset": {"latestSnapshot": self.list_files(names[0], max(versions))}}
            }
        ids = [{"id": f"{names[0]}:{version}"} for version in versions]
        return {"data": {"dataset": {"snapshots": ids}}}

    def list_files(self, accession: str, version: str) -> dict[str, Any]:
        base = f"{self.address}/files/{accession}/{version}"
        files = []
        for path, content in self.versions[accession][version].items():
            urls = [] if path in self.unlisted_urls else [f"{base}/{quote(path)}?versionId=a.b"]
            size = self.listed_sizes.get(path, len(content))
            files.append({"filename": path, "urls": urls, "size": size, "id": f"id-{path}"})
        return {"id": f"{accession}:{version}", "files": files}


def make_handler(server: OpenNeuroServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.log.append(Request("POST", GRAPHQL))
            if self.refuse(GRAPHQL):
                return
            fault = server.take_fault(GRAPHQL, "POST", "answer")
            answer = json.dumps(fault.value if fault else server.answer(body["query"])).encode()
            self.reply(200, {"Content-Type": "application/json"}, answer)

        def do_HEAD(self) -> None:
            self.serve_file()

        def do_GET(self) -> None:
            self.serve_file()

        def serve_file(self) -> None:
            place, accession, version, path = unquote(urlsplit(self.path).path)[1:].split("/", 3)
            asked = self.headers.get("Range")
            server.log.append(Request(self.command, path, asked))
            if place == "files" and server.take_fault(path, self.command, "redirect"):
                self.reply(302, {"Location": self.path.replace("/files/", "/moved/", 1)}, b"")
                return
            content = server.versions.get(accession, {}).get(version, {}).get(path)
            if content is None:
                self.reply(404, {}, b"")
            elif not self.refuse(path):
                self.send_content(path, content, asked)

        def refuse(self, path: str) -> bool:
            """Whether an error was sent; a slow answer is only delayed."""
            if fault := server.take_fault(path, self.command, "slow"):
                time.sleep(fault.value)
            if fault := server.take_fault(path, self.command, "status"):
                self.reply(fault.value, fault.headers, b"sorry")
                return True
            return False

        def send_content(self, path: str, content: bytes, asked: str | None) -> None:
            headers = {"ETag": f'"{hashlib.md5(content).hexdigest()}"'}  # noqa: S324 (S3's ETag)
            if fault := server.take_fault(path, self.command, "no_etag"):
                headers = {"ETag": fault.value} if fault.value else {}
            if server.take_fault(path, self.command, "wrong"):
                content = bytes(255 - byte for byte in content)
            status, start = 200, 0
            if asked and not server.take_fault(path, self.command, "whole"):
                status, start = 206, int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.reply(status, headers, content[start:], path)

        def reply(self, status: int, headers: Mapping[str, str], body: bytes, path="") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            fault = server.take_fault(path, self.command, "cut stall")
            self.wfile.write(body[: fault.value] if fault else body)
            if fault:
                self.wfile.flush()
                self.close_connection = True
                time.sleep(60 if fault.kind == "stall" else 0)

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True  # the client was killed, or has had enough

    return Handler


@contextmanager
def running_server() -> Iterator[OpenNeuroServer]:
    server = OpenNeuroServer()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def read_tree(tree: Path, version: str, voxels: Callable[[str], bytes]) -> dict[str, bytes]:
    """All files of a published version: its list of images, with contents made by ``voxels``.

    The files beside the list are the published ones. Side-cars are made up, as are the folders
    of ds003745 that hold no image to use: behaviour from the start, derivatives from 2.0.0 on.
    """
    rows = read_images(tree, version)
    files = {path: b"{}" if path.endswith(".json") else voxels(path) for path in rows}
    for published in sorted(tree.iterdir()):
        if published.name != "images.tsv":
            files[published.name] = published.read_bytes()
    if tree.name == "ds003745":
        subjects = sorted({path.split("/")[0] for path in rows})
        for subject in subjects[:48]:
            friend = subject.replace("sub-1", "sub-2")
            files[f"{friend}/func/{friend}_task-trust_events.tsv"] = b"onset\tduration\n"
        for subject in subjects if version >= "2" else []:
            for space in ("", "_space-MNI152NLin6Asym"):
                name = f"{subject}{space}_desc-preproc_T1w.nii.gz"
                files[f"derivatives/fmriprep/{subject}/anat/{name}"] = b"derived"
    return files


def read_images(tree: Path, version: str) -> dict[str, dict[str, str]]:
    """The rows of ``images.tsv`` of a version, by path."""
    with (tree / "images.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {row["path"]: row for row in rows if row["version"] == version}
