"""The interface of OpenNeuro, spoken by openneuro-py and by us against a server on loopback."""

from __future__ import annotations

import builtins
import hashlib
import logging
import socket
from pathlib import Path

import pytest

from data_prep import openneuro_client
from data_prep.openneuro_answers import RemoteFile, UnreachableError, is_final
from data_prep.openneuro_client import announce, download, fetch_listing
from tests.openneuro_server import GRAPHQL, OpenNeuroServer

ODD = "sub-01/anat/sub-01_acq-a[1]b{2}*?_T1w.nii.gz"
FILES = {
    "dataset_description.json": b'{"Name": "x"}',
    "sub-01/anat/sub-01_T1w.nii.gz": b"voxels",
    ODD: b"odd",
    "T1w.json": b"{}",
    "derivatives/T1w.json": b"{}",
    "sub-01/anat/sub-01_acq-a1b2xy_T1w.nii.gz": b"what a pattern would match",
    "derivatives/sub-01/anat/sub-01_T1w.nii.gz": b"derived",
    "sub-01/anat/sub 01 & co #1.json": b"{}",
}


@pytest.fixture
def server(openneuro_server: OpenNeuroServer) -> OpenNeuroServer:
    openneuro_server.publish("ds000001", "1.0.0", FILES)
    return openneuro_server


def fetch(folder: Path, *paths: str) -> openneuro_client.CallOutcome:
    return download("ds000001", "1.0.0", folder, paths, retries=0, connections=2)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_listing_holds_every_file_with_its_size_and_address(server):
    listing = fetch_listing("ds000001", "1.0.0")
    assert {file.path: file.size for file in listing.files} == {p: len(c) for p, c in FILES.items()}
    assert all(file.url.startswith(server.address) for file in listing.files)


def test_the_newest_version_is_resolved(server):
    server.publish("ds000001", "1.2.0", {"README": b"new"})
    listing = fetch_listing("ds000001", None)
    assert (listing.version, [file.path for file in listing.files]) == ("1.2.0", ["README"])


def test_a_version_that_was_never_published_is_answered_with_those_that_were(server):
    """The version that an earlier system named for ds002382."""
    server.publish("ds002382", "1.0.0", {"README": b""})
    with pytest.raises(
        ValueError, match=r"no version 1\.0\.1\. Published: 1\.0\.0.*ds002382@1\.0\.0"
    ):
        fetch_listing("ds002382", "1.0.1")


def test_an_unknown_dataset_is_an_error_that_quotes_openneuro(server):
    with pytest.raises(
        ValueError, match="ds999999: .*You do not have access.*openneuro.org/datasets"
    ):
        fetch_listing("ds999999", None)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "."])
def test_a_listed_path_that_leaves_the_folder_is_refused(server, path):
    server.publish("ds000001", "1.0.0", {path: b""})
    with pytest.raises(ValueError, match="leaves the dataset's folder"):
        fetch_listing("ds000001", "1.0.0")


@pytest.mark.parametrize(
    "answer",
    [{"data": {"dataset": {"latestSnapshot": {"id": "ds000001:1"}}}}, {"data": {"dataset": {}}}],
)
def test_a_listing_without_files_is_an_error(server, answer):
    server.fail(GRAPHQL, "answer", answer)
    with pytest.raises(ValueError, match="ds000001: OpenNeuro's listing is incomplete"):
        fetch_listing("ds000001", None)


@pytest.mark.parametrize(
    "message", ["504: gateway", "request failed due to timeout", "fetch failed"]
)
def test_trouble_behind_the_interface_is_worth_another_try(server, message):
    server.fail(GRAPHQL, "answer", {"errors": [{"message": message}], "data": None})
    with pytest.raises(UnreachableError, match=f"out of order: {message}"):
        fetch_listing("ds000001", None)


def test_an_interface_that_asks_for_patience_says_how_long(server):
    server.fail(GRAPHQL, "status", 429, headers={"Retry-After": "7"})
    with pytest.raises(UnreachableError, match="127.0.0.1:.* HTTP 429") as caught:
        fetch_listing("ds000001", None)
    assert caught.value.retry_after_s == 7


def test_an_interface_that_refuses_is_no_matter_of_patience(server):
    server.fail(GRAPHQL, "status", 403)
    with pytest.raises(ValueError, match="HTTP 403 when asked for ds000001"):
        fetch_listing("ds000001", None)


def test_without_a_network_the_host_is_named(server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setenv(openneuro_client.API_VARIABLE, f"http://127.0.0.1:{port}/crn/graphql")
    with pytest.raises(UnreachableError, match=f"127.0.0.1:{port} does not answer"):
        fetch_listing("ds000001", None)


def test_the_announced_md5_is_found_behind_a_redirect(server):
    path = "sub-01/anat/sub-01_T1w.nii.gz"
    server.fail(path, "redirect")
    files = fetch_listing("ds000001", "1.0.0").files
    statuses = announce(files)
    assert {p: s.md5 for p, s in statuses.items()} == {
        p: hashlib.md5(content, usedforsecurity=False).hexdigest() for p, content in FILES.items()
    }
    assert all(status.reason == "" for status in statuses.values())
    assert server.count("HEAD", path) == 2


@pytest.mark.parametrize("etag", ["", '"0123456789abcdef0123456789abcdef-3"', '"abc"'])
def test_what_is_no_md5_is_not_taken_for_one(server, etag):
    server.fail("dataset_description.json", "no_etag", etag)
    (file,) = [f for f in fetch_listing("ds000001", "1.0.0").files if "description" in f.path]
    assert announce([file])[file.path].md5 is None


def test_refusals_silence_and_missing_addresses_are_told_apart(server):
    server.fail("dataset_description.json", "status", 429, headers={"Retry-After": "3"})
    server.fail("sub-01/anat/sub-01_T1w.nii.gz", "status", 403)
    server.unlisted_urls = {ODD}
    server.listed_sizes = {"T1w.json": None}
    files = [*fetch_listing("ds000001", "1.0.0").files[:4]]
    with socket.create_server(("127.0.0.1", 0)) as unused:
        files.append(RemoteFile("silent", 1, f"http://127.0.0.1:{unused.getsockname()[1]}/x"))
    busy, refused, unlisted, unsized, silent = announce(files).values()
    assert (busy.status, busy.retry_after_s) == (429, 3)
    assert not is_final(busy.status)
    assert (refused.status, is_final(refused.status)) == (403, True)
    assert "no address" in unlisted.reason
    assert is_final(unlisted.status)
    assert unsized == unlisted
    assert (silent.status, is_final(silent.status)) == (0, False)


def test_only_the_literal_paths_and_what_describes_the_dataset_are_fetched(server, tmp_path):
    paths = {"sub-01/anat/sub-01_T1w.nii.gz", ODD, "T1w.json", "sub-01/anat/sub 01 & co #1.json"}
    outcome = fetch(tmp_path / "raw", *paths)
    assert outcome == openneuro_client.CallOutcome({}, "")
    assert files_in(tmp_path / "raw") == paths | {"dataset_description.json"}
    assert (tmp_path / "raw" / ODD).read_bytes() == b"odd"


def test_why_a_file_failed_is_told_by_its_path(server, tmp_path):
    server.fail("sub-01/anat/sub-01_T1w.nii.gz", "status", 404, methods=("GET",))
    outcome = fetch(tmp_path / "raw", "sub-01/anat/sub-01_T1w.nii.gz")
    assert outcome.reasons == {"sub-01/anat/sub-01_T1w.nii.gz": "HTTP 404 when trying to download"}
    assert "Failed to download 1 file" in outcome.error


def test_a_call_that_fails_as_a_whole_is_an_outcome_too(server, tmp_path):
    outcome = fetch(tmp_path / "raw", "no/such/file")
    assert "Could not find path in the dataset" in outcome.error
    server.fail(GRAPHQL, "answer", {"data": {"dataset": None}})
    assert fetch(tmp_path / "raw", "README").error


def test_nothing_but_the_bar_is_printed_and_their_log_is_as_before(server, tmp_path, capfd):
    theirs = logging.getLogger("openneuro")
    openneuro_client.load_client()
    before = list(theirs.handlers)
    server.fail("sub-01/anat/sub-01_T1w.nii.gz", "status", 404)
    fetch(tmp_path / "raw", "sub-01/anat/sub-01_T1w.nii.gz")
    printed = capfd.readouterr()
    assert printed.out == ""
    assert [line.split()[0] for line in printed.err.splitlines()] == ["Overall"]
    assert theirs.handlers == before


def test_the_mirror_is_never_asked(server, tmp_path, monkeypatch):
    """Above 1 GiB the client would ask NEMAR for checksums unless told not to."""
    monkeypatch.setenv("OPENNEURO_SOURCE", "nemar")
    client = openneuro_client.load_client()
    for name in ("get_metadata", "get_checksums"):
        monkeypatch.setattr(client._nemar, name, lambda **_: pytest.fail("NEMAR was asked"))
    server.listed_sizes = {"sub-01/anat/sub-01_T1w.nii.gz": 2**30}
    outcome = fetch(tmp_path / "raw", "sub-01/anat/sub-01_T1w.nii.gz")
    assert "Size mismatch" in outcome.reasons["sub-01/anat/sub-01_T1w.nii.gz"]


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (ModuleNotFoundError("none"), r'pip install -c constraints.txt "\.\[openneuro\]"'),
        (PermissionError("/root/.config"), "Set XDG_CONFIG_HOME to a folder"),
    ],
)
def test_where_it_cannot_be_imported_the_way_out_is_named(monkeypatch, error, way_out):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.split(".")[0] in ("openneuro", "niquests"):
            raise error
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for call in (lambda: fetch_listing("ds000001", None), lambda: announce([])):
        with pytest.raises(ValueError, match=way_out):
            call()
