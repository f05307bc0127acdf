"""Fetching HD-BET's weights from a server on this machine: what is taken, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from filelock import FileLock
from scripts import hd_bet_weights

from data_prep import __main__ as command_line
from data_prep import fetch_weights, resumable_download
from data_prep.fetch_weights import install_weights

CHECKPOINT = bytes(range(256)) * 4000  # a megabyte
CONTENTS = {
    "fold_all/checkpoint_final.pth": CHECKPOINT,
    "plans.json": b"{}",
    "dataset.json": b"{}",
    "fold_all/progress.png": b"not needed",
}
RECORD_FILE = "/records/7/files/weights.zip"


def make_zip(contents) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `files`; a path in `cuts` breaks off after so many bytes, once for each entry."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {RECORD_FILE: make_zip(CONTENTS)}
        self.cuts = []
        self.answers = []  # status codes to give first
        self.requests = []
        self.knows_ranges = True
        self.announce(hashlib.md5(self.files[RECORD_FILE]).hexdigest())  # noqa: S324 as Zenodo has it

    def announce(self, md5):
        record = {
            "files": [{"key": "weights.zip", "checksum": f"md5:{md5}"}],
            "metadata": {"license": {"id": "a-licence"}},
        }
        self.files["/api/records/7"] = json.dumps(record).encode()

    def handle_error(self, *_):
        """A client that hangs up, as one does without space on its disk, is no fault here."""

    def url(self, path=RECORD_FILE):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path, span = self.path.partition("?")[0], self.headers.get("Range")
        self.server.requests.append((path, span))
        is_archive = not path.startswith("/api")
        if path not in self.server.files or (is_archive and self.server.answers):
            status = self.server.answers.pop(0) if self.server.answers else 404
            self.send_error(status)
            return
        content = self.server.files[path]
        start = int(span[6:-1]) if span and self.server.knows_ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if is_archive and self.server.cuts:
            self.wfile.write(content[start : start + self.server.cuts.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(content[start:])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def install(server, folder, **options):
    options = {"url": server.url(), "accept_licence": True, "pauses_s": (0.0, 0.0), **options}
    return install_weights(folder, **options)


def list_files(folder):
    """All but the locks, which stay."""
    paths = (path for path in folder.rglob("*") if path.suffix != ".lock")
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def test_the_three_files_that_are_opened_arrive_with_their_checksums(server, tmp_path):
    sha256 = hashlib.sha256(CHECKPOINT).hexdigest()
    folder = tmp_path / "deeper" / "weights"
    assert install(server, folder) == sha256
    assert (folder / "fold_all/checkpoint_final.pth").read_bytes() == CHECKPOINT
    pins = json.loads((folder / "weights.sha256.json").read_text())
    assert pins["files"]["fold_all/checkpoint_final.pth"] == sha256
    assert pins["files"]["plans.json"] == hashlib.sha256(b"{}").hexdigest()
    assert pins["source"]["licence"] == "a-licence"
    found = list_files(folder.parent)
    assert "weights/fold_all/progress.png" not in found
    assert not [name for name in found if name.startswith(".")]  # nothing is left beside it


def test_the_bundle_takes_what_was_fetched_and_notices_a_later_change(
    server, tmp_path, monkeypatch
):
    monkeypatch.delenv("HDBET_SHA256", raising=False)
    install(server, tmp_path / "weights")
    first = hd_bet_weights.verify_weights(tmp_path / "weights")
    assert len(first) == 64
    (tmp_path / "weights/plans.json").write_text("[]")
    with pytest.raises(ValueError, match=r"plans.json has sha256 4f53cda18c2b.*Expected 44136fa3"):
        hd_bet_weights.verify_weights(tmp_path / "weights")


def test_both_sides_look_for_the_same_files_in_the_same_place(monkeypatch):
    monkeypatch.delenv("HDBET_WEIGHTS", raising=False)
    assert fetch_weights.find_folder() == hd_bet_weights.find_weights()
    monkeypatch.setenv("HDBET_WEIGHTS", "~/elsewhere")
    assert fetch_weights.find_folder() == hd_bet_weights.find_weights()
    assert set(fetch_weights.FILES) == set(hd_bet_weights.FILES)
    assert fetch_weights.PINS == hd_bet_weights.PINS


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
    server.cuts = [300_000, 300_000]
    install(server, tmp_path / "weights")
    assert (tmp_path / "weights/fold_all/checkpoint_final.pth").read_bytes() == CHECKPOINT
    spans = [span for path, span in server.requests if path == RECORD_FILE]
    assert spans == [None, "bytes=300000-", "bytes=600000-"]


def test_a_second_command_goes_on_from_what_the_first_one_left(server, tmp_path):
    server.cuts = [100_000] * 3
    with pytest.raises(ConnectionError, match="broke off after 300000 of 10.* bytes.* goes on"):
        install(server, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
    install(server, tmp_path / "weights")
    assert server.requests[-1] == (RECORD_FILE, "bytes=300000-")


def test_a_server_without_ranges_sends_all_of_it_again(server, tmp_path):
    server.cuts, server.knows_ranges = [300_000], False
    install(server, tmp_path / "weights")
    assert (tmp_path / "weights/fold_all/checkpoint_final.pth").read_bytes() == CHECKPOINT


def test_a_busy_server_is_asked_again_and_a_part_that_is_too_long_starts_over(server, tmp_path):
    (tmp_path / ".weights.zip.part").write_bytes(b"x" * 2_000_000)
    server.answers = [416, 503]
    install(server, tmp_path / "weights")
    assert [span for path, span in server.requests if path == RECORD_FILE][1:] == [None, None]


def test_an_address_that_is_not_there_is_asked_for_once(server, tmp_path):
    with pytest.raises(ConnectionError, match="the server answers 404"):
        install(server, tmp_path / "weights", url=server.url("/nothing.zip"))
    assert server.requests == [("/nothing.zip", None)]


def as_link():
    member = zipfile.ZipInfo("fold_all/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "fold_all/../../evil", "..\\evil", as_link()], ids=str
)
def test_an_archive_that_leaves_its_folder_is_refused(server, tmp_path, name):
    server.files["/evil.zip"] = make_zip({**CONTENTS, name: b"evil"})
    with pytest.raises(ValueError, match="leaves its folder"):
        install(server, tmp_path / "inner" / "weights", url=server.url("/evil.zip"))
    assert list_files(tmp_path) == ["inner"]


def test_an_archive_of_something_else_is_refused(server, tmp_path):
    server.files["/other.zip"] = make_zip({"readme.txt": b"hello"})
    with pytest.raises(ValueError, match=r"holds \['readme.txt'\], expected fold_all/checkpoint"):
        install(server, tmp_path / "weights", url=server.url("/other.zip"))
    server.files["/page.zip"] = b"<html>not found</html>"
    with pytest.raises(ValueError, match="not a zip file"):
        install(server, tmp_path / "weights", url=server.url("/page.zip"))
    assert list_files(tmp_path) == []


def test_a_damaged_download_is_deleted_and_not_unpacked(server, tmp_path):
    server.announce("0" * 32)
    with pytest.raises(ValueError, match=r"has MD5 \w{32}, expected 0{32}.*is deleted"):
        install(server, tmp_path / "weights")
    assert list_files(tmp_path) == []


def test_a_member_that_does_not_unpack_leaves_nothing_behind(server, tmp_path):
    server.files["/damaged.zip"] = make_zip(CONTENTS).replace(
        b"\x00\x01\x02\x03", b"\x00\x01\x02\x04"
    )
    with pytest.raises(ValueError, match="Bad CRC-32 for file 'fold_all/checkpoint_final.pth'"):
        install(server, tmp_path / "weights", url=server.url("/damaged.zip"))
    assert list_files(tmp_path) == []


def test_without_a_record_it_is_said_that_nothing_was_compared(server, tmp_path, caplog):
    del server.files["/api/records/7"]
    install(server, tmp_path / "weights")
    assert "no MD5 is announced" in caplog.text


def test_a_folder_that_is_there_stays_as_it_is(server, tmp_path):
    (tmp_path / "weights").mkdir()
    with pytest.raises(FileExistsError, match="left as it is"):
        install(server, tmp_path / "weights")
    assert list_files(tmp_path) == ["weights"]
    assert server.requests == []


def test_two_downloads_at_once_do_not_mix(server, tmp_path):
    with (
        FileLock(tmp_path / ".weights.lock"),
        pytest.raises(ValueError, match="another run downloads it already"),
    ):
        install(server, tmp_path / "weights")
    assert server.requests == []


def test_a_full_disk_is_noticed_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(resumable_download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match=r"0 MB free. Expected 1 MB"):
        install(server, tmp_path / "weights")
    assert list_files(tmp_path) == []


@pytest.mark.parametrize("url", ["ftp://a/b.zip", "file:///etc/passwd", "http://a.org/b.zip"])
def test_only_https_is_an_address(tmp_path, url):
    with pytest.raises(ValueError, match="expected an address that begins with https"):
        install_weights(tmp_path / "weights", url=url, accept_licence=True)


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["data_prep", "fetch_weights", *arguments])
    return command_line.main()


def test_without_acceptance_the_command_says_what_is_known_and_asks_no_server(
    server, tmp_path, monkeypatch, capsys
):
    assert run_command(monkeypatch, f"--url={server.url()}", f"--folder={tmp_path / 'w'}") == 1
    said = capsys.readouterr().err
    assert "under which licence" in said
    assert "--accept_licence" in said
    assert server.requests == []


def test_the_command_says_what_to_export_for_a_folder_of_ones_own(
    server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HDBET_WEIGHTS", str(tmp_path / "usual"))
    options = (f"--url={server.url()}", "--accept_licence")
    assert run_command(monkeypatch, *options, f"--folder={tmp_path / 'own'}") == 0
    assert f"export HDBET_WEIGHTS={tmp_path / 'own'}" in capsys.readouterr().out
    assert run_command(monkeypatch, *options) == 0
    said = capsys.readouterr().out
    assert hashlib.sha256(CHECKPOINT).hexdigest() in said
    assert "export" not in said
