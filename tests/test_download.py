"""Downloads that meet every kind of trouble, with the real client and a server on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from data_prep import download_rounds, openneuro_client
from data_prep.bids import index_dataset
from data_prep.download import Download, download_dataset, estimate, plan_download, verify_raw
from data_prep.download_rounds import Patience, compute_wait_s
from data_prep.download_state import locked
from data_prep.openneuro_answers import FileStatus, UnreachableError
from data_prep.sources import KNOWN_SOURCES, Source, parse_sources
from tests.openneuro_server import FOR_EVER, GRAPHQL, OpenNeuroServer, read_images, read_tree

T1W, T2W = "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz"
DESCRIPTION = "dataset_description.json"
FILES = {
    DESCRIPTION: b'{"Name": "Heads"}',  # without a DOI, which openneuro-py refuses to top up
    "README": b"about",
    "CHANGES": b"",
    T1W: bytes(range(256)) * 400,
    T2W: bytes(reversed(range(256))) * 300,
    "sub-01/func/sub-01_task-rest_bold.nii.gz": b"not wanted",
}
SOURCE = Source("ds000001", "1.0.0")
HURRY = Patience(rounds=3, first_wait_s=0.01, longest_wait_s=0.05, retries=1)


@pytest.fixture
def server(openneuro_server: OpenNeuroServer) -> OpenNeuroServer:
    openneuro_server.publish("ds000001", "1.0.0", FILES)
    return openneuro_server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def choose_images(paths: tuple[str, ...]) -> list[str]:
    return [p for p in paths if p.startswith("sub-") and p.endswith(("_T1w.nii.gz", "_T2w.nii.gz"))]


def fetch(out: Path, source: Source = SOURCE, **options) -> Download:
    return download_dataset(source, out, choose_images, **{"patience": HURRY, **options})


def read_state(out: Path) -> dict:
    return json.loads((out / "downloads" / "ds000001_1.0.0.json").read_text())


def raw(out: Path, path: str) -> Path:
    return out / "raw" / "ds000001" / "1.0.0" / path


def is_whole(out: Path, *paths: str) -> bool:
    return all(raw(out, path).read_bytes() == FILES[path] for path in paths)


def test_the_selection_and_what_describes_the_dataset_arrive_verified(server, out):
    done = fetch(out)
    wanted = {DESCRIPTION, "README", "CHANGES", T1W, T2W}
    assert (set(done.files), done.failed, done.source) == (wanted, {}, SOURCE)
    root = out / "raw" / "ds000001" / "1.0.0"
    assert {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} == wanted
    assert is_whole(out, *wanted)
    assert read_state(out)["verified"][T1W] == {
        "size": len(FILES[T1W]),
        "md5": hashlib.md5(FILES[T1W], usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(FILES[T1W]).hexdigest(),
        "announced": True,
    }
    assert {path.name for path in (out / "downloads").iterdir()} <= {
        "ds000001_1.0.0.json",
        "ds000001_1.0.0.lock",
    }


def test_a_second_run_needs_no_network_and_no_client(server, out, monkeypatch):
    fetch(out)
    server.log.clear()
    monkeypatch.setattr(openneuro_client, "load_client", lambda: pytest.fail("client was loaded"))
    assert fetch(out).failed == {}
    assert server.log == []


def test_more_is_fetched_later_although_the_description_lacks_a_doi(server, out):
    first = download_dataset(SOURCE, out, lambda _: [T1W], patience=HURRY)
    assert first.failed == {}
    server.log.clear()
    assert fetch(out).failed == {}
    assert is_whole(out, T1W, T2W, DESCRIPTION)
    assert server.ranges(T1W) == []
    assert server.ranges(T2W) == [None]


def test_a_description_that_names_another_version_is_no_hindrance(server, out):
    described = b'{"DatasetDOI": "doi:10.18112/openneuro.ds000001.v0.9.0"}'
    server.publish("ds000001", "1.0.0", {**FILES, DESCRIPTION: described})
    download_dataset(SOURCE, out, lambda _: [T1W], patience=HURRY)
    assert fetch(out).failed == {}
    assert raw(out, DESCRIPTION).read_bytes() == described


def test_a_verified_description_survives_a_call_that_fails(server, out):
    download_dataset(SOURCE, out, lambda _: [T1W], patience=HURRY)
    server.fail(DESCRIPTION, "wrong", times=FOR_EVER)
    assert fetch(out).failed == {}
    assert is_whole(out, DESCRIPTION)


def test_a_description_set_aside_by_a_killed_run_comes_back(server, out):
    fetch(out)
    raw(out, DESCRIPTION).rename(out / "raw" / "ds000001" / ".1.0.0.description")
    server.log.clear()
    assert fetch(out).failed == {}
    assert is_whole(out, DESCRIPTION)
    assert server.ranges(DESCRIPTION) == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_server_that_is_out_of_order_twice_is_asked_again(server, out, method):
    server.fail(T1W, "status", 503, times=2, methods=(method,))
    assert fetch(out).failed == {}
    assert is_whole(out, T1W, T2W)


def test_a_connection_cut_in_the_middle_is_resumed_where_it_broke(server, out):
    server.fail(T1W, "cut", 50_000, methods=("GET",))
    assert fetch(out).failed == {}
    assert server.ranges(T1W) == [None, "bytes=50000-"]
    assert is_whole(out, T1W)


def test_a_server_that_ignores_the_range_costs_another_download(server, out):
    server.fail(T1W, "cut", 50_000, methods=("GET",))
    server.fail(T1W, "whole", methods=("GET",))
    assert fetch(out, patience=Patience(**{**vars(HURRY), "retries": 2})).failed == {}
    assert server.ranges(T1W) == [None, "bytes=50000-", None]
    assert is_whole(out, T1W)


def test_wrong_content_once_is_fetched_again(server, out):
    server.fail(T1W, "wrong", methods=("GET",))
    assert fetch(out).failed == {}
    assert server.ranges(T1W) == [None, None]
    assert is_whole(out, T1W)


def test_wrong_content_that_stays_is_not_counted_and_is_fetched_afresh_later(server, out):
    server.fail(T1W, "wrong", times=FOR_EVER, methods=("GET",))
    done = fetch(out)
    assert set(done.files) == {DESCRIPTION, "README", "CHANGES", T2W}
    assert "MD5" in done.failed[T1W]
    assert not raw(out, T1W).exists()
    assert len(server.ranges(T1W)) == HURRY.wrong_contents * (HURRY.retries + 1)
    assert T1W not in read_state(out)["verified"]
    server.faults.clear()
    server.log.clear()
    assert fetch(out).failed == {}
    assert (server.ranges(T1W), server.ranges(T2W)) == ([None], [])
    assert is_whole(out, T1W)


def test_behind_a_redirect_the_client_does_not_look_so_our_check_decides(server, out):
    """openneuro-py does not follow its HEAD, hence has no checksum and takes what comes."""
    server.fail(T1W, "redirect", times=FOR_EVER)
    server.fail(T1W, "wrong", methods=("GET",))
    assert fetch(out).failed == {}
    assert is_whole(out, T1W)


def test_without_an_announced_checksum_the_size_decides_and_the_state_says_so(server, out):
    server.fail(T1W, "no_etag", times=FOR_EVER)
    assert fetch(out).failed == {}
    verified = read_state(out)["verified"]
    assert (verified[T1W]["announced"], verified[T2W]["announced"]) == (False, True)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("code", [403, 404])
def test_a_refusal_is_final_and_costs_only_its_file(server, out, method, code):
    server.fail(T1W, "status", code, times=FOR_EVER, methods=(method,))
    done = fetch(out)
    assert set(done.files) == {DESCRIPTION, "README", "CHANGES", T2W}
    assert list(done.failed) == [T1W]
    assert f"HTTP {code}" in done.failed[T1W]
    assert len([one for one in server.log if (one.method, one.path) == (method, T1W)]) == 1


def test_a_file_without_an_address_is_given_up(server, out):
    server.unlisted_urls = {T1W}
    done = fetch(out)
    assert "no address" in done.failed[T1W]
    assert is_whole(out, T2W)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_busy_server_is_asked_again_after_a_while(server, out, method):
    server.fail(T1W, "status", 429, times=2, methods=(method,))
    assert fetch(out).failed == {}
    assert is_whole(out, T1W)


def test_a_busy_server_says_how_long_to_wait(server, out, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(download_rounds.time, "sleep", waits.append)
    server.fail(T1W, "status", 429, headers={"Retry-After": "20"}, methods=("HEAD",))
    server.fail(T1W, "status", 429, headers={"Retry-After": "999"}, methods=("HEAD",))
    patience = Patience(first_wait_s=1, longest_wait_s=60, retries=1)
    assert fetch(out, patience=patience).failed == {}
    assert waits == [20, 60]


def test_a_file_that_stays_out_of_order_is_given_up_after_its_rounds(server, out):
    server.fail(T1W, "status", 503, times=FOR_EVER, methods=("HEAD",))
    done = fetch(out)
    assert "HTTP 503" in done.failed[T1W]
    assert is_whole(out, T2W)
    # The first round brought the others; three more brought nothing.
    assert server.count("HEAD", T1W) == 1 + HURRY.rounds


def test_an_answer_slower_than_the_clients_five_seconds_is_asked_for_again(server, out):
    server.fail(T1W, "slow", 5.6, methods=("GET",))
    assert fetch(out).failed == {}
    assert len(server.ranges(T1W)) == 2


def test_without_a_terminal_the_log_tells_how_far_it_is(server, out, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(download_rounds, "REPORT_EVERY_S", 0.1)
    server.publish("ds000001", "1.0.0", {T1W: bytes(20_000_000)})
    server.fail(T1W, "cut", 10_000_000, methods=("GET",))  # half a second passes until it goes on
    assert fetch(out).failed == {}
    assert "ds000001 1.0.0: fetching 1 files, 0.02 GB" in caplog.messages
    assert "ds000001 1.0.0: 0.01 of 0.02 GB" in caplog.messages


def test_an_outage_is_waited_out_longer_than_one_file_is(server, out, monkeypatch):
    silent = iter([True] * (HURRY.rounds + 2))
    answer = download_rounds.announce

    def fall_silent(files):
        if next(silent, False):
            return {file.path: FileStatus(0, reason="no answer") for file in files}
        return answer(files)

    monkeypatch.setattr(download_rounds, "announce", fall_silent)
    assert fetch(out).failed == {}
    assert next(silent, None) is None


def test_waits_double_are_spread_and_bounded():
    patience, rng = Patience(first_wait_s=4, longest_wait_s=20), random.Random(0)
    waits = [[compute_wait_s(n, patience, None, rng) for _ in range(200)] for n in (1, 2, 3, 9)]
    assert [
        (min(w) < low * 1.1, max(w) <= high)
        for w, low, high in zip(waits, (2, 4, 8, 20), (4, 8, 16, 20), strict=True)
    ] == [(True, True)] * 4
    assert min(waits[2]) >= 8
    assert compute_wait_s(1, patience, 15.0, rng) == 15
    assert compute_wait_s(1, patience, 1e9, rng) == 20


def start_download(server: OpenNeuroServer, out: Path, tmp_path: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path\n"
        "from data_prep.download import download_dataset\n"
        "from data_prep.sources import Source\n"
        f"download_dataset(Source('ds000001', '1.0.0'), Path({str(out)!r}), lambda _: "
        f"[{T1W!r}, {T2W!r}])"
    )
    environment = {**os.environ, **server.environment(tmp_path / "config")}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL
    )


def wait_for(condition, *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_killed_in_the_middle_it_goes_on_where_it_was(server, out, tmp_path):
    server.fail(T2W, "stall", 40_000, methods=("GET",))
    process = start_download(server, out, tmp_path)
    paths = (DESCRIPTION, "README", T1W)
    wait_for(lambda: all(raw(out, p).is_file() for p in paths) and is_whole(out, *paths))
    wait_for(lambda: raw(out, T2W).is_file() and raw(out, T2W).stat().st_size == 40_000)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_state(out)["verified"] == {}
    server.log.clear()
    assert fetch(out).failed == {}
    assert (server.ranges(T1W), server.ranges(T2W)) == ([], ["bytes=40000-"])
    assert is_whole(out, DESCRIPTION, "README", T1W, T2W)


def test_one_run_at_a_time_downloads_a_version(server, out):
    with locked(out, "ds000001", "1.0.0"):
        with pytest.raises(ValueError, match=r"ds000001 1\.0\.0: another run is downloading"):
            fetch(out)
        with pytest.raises(ValueError, match="another run"):
            verify_raw(out, "ds000001", "1.0.0")
    assert fetch(out).failed == {}


def put(out: Path, path: str, content: bytes) -> None:
    raw(out, path).parent.mkdir(parents=True, exist_ok=True)
    raw(out, path).write_bytes(content)


def test_files_that_lie_there_are_adopted_or_resumed(server, out):
    put(out, T1W, FILES[T1W])
    put(out, T2W, FILES[T2W][:30_000])
    put(out, DESCRIPTION, FILES[DESCRIPTION][:5])
    assert fetch(out).failed == {}
    assert (server.ranges(T1W), server.ranges(T2W)) == ([], ["bytes=30000-"])
    assert is_whole(out, T1W, T2W, DESCRIPTION)
    assert not list((out / "downloads").glob("*.description"))


def test_a_whole_dataset_that_lies_there_is_adopted_without_the_client(server, out):
    for path in (DESCRIPTION, "README", "CHANGES", T1W, T2W):
        put(out, path, FILES[path])
    assert fetch(out).failed == {}
    assert server.count("POST", GRAPHQL) == 2  # its versions and the files of one
    assert {one.method for one in server.log} == {"POST", "HEAD"}


@pytest.mark.parametrize("change", [lambda b: b[::-1], lambda b: b + b"more"])
def test_files_of_others_are_never_replaced(server, out, change):
    put(out, T1W, change(FILES[T1W]))
    with pytest.raises(ValueError, match=f"{T1W} .*not fetched by this program. Move them away"):
        fetch(out)
    assert raw(out, T1W).read_bytes() == change(FILES[T1W])
    assert server.ranges(T2W) == []


def test_a_link_is_not_written_through(server, out, tmp_path):
    outside = tmp_path / "precious"
    outside.write_bytes(b"short")
    raw(out, T1W).parent.mkdir(parents=True)
    raw(out, T1W).symlink_to(outside)
    with pytest.raises(ValueError, match="Move them away"):
        fetch(out)
    assert outside.read_bytes() == b"short"


def test_too_small_a_disk_is_noticed_before_anything_is_fetched(server, out, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 0, 100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    server.listed_sizes = {T1W: 3_000_000_000}
    with pytest.raises(ValueError, match=r"3\.00 GB are to be fetched .* 0\.00 GB are free"):
        fetch(out)
    assert {one.method for one in server.log} == {"POST"}


def test_a_plan_writes_nothing_and_counts_what_is_lacking(server, out):
    sizes = {path: len(FILES[path]) for path in (T1W, T2W, "README", DESCRIPTION)}
    assert estimate(SOURCE, out, choose_images) == sum(sizes.values())
    assert not out.exists()
    put(out, T2W, FILES[T2W][:1000])
    plan = plan_download(SOURCE, out, choose_images)
    assert plan.missing_bytes == sum(sizes.values()) - 1000
    assert set(plan.paths) == set(FILES)
    fetch(out)
    assert estimate(SOURCE, out, choose_images) == 0


def test_a_selection_that_is_not_listed_is_an_error(server, out):
    with pytest.raises(ValueError, match=r"ds000001 1\.0\.0 has no file sub-02/x"):
        download_dataset(SOURCE, out, lambda _: ["sub-02/x"], patience=HURRY)


def test_the_newest_version_is_resolved_and_named(server, out):
    server.publish("ds000001", "1.1.0", FILES)
    done = fetch(out, Source("ds000001", None))
    assert (done.source.version, done.root.name) == ("1.1.0", "1.1.0")
    assert done.source.doi == "10.18112/openneuro.ds000001.v1.1.0"


def find_closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return f"127.0.0.1:{unused.getsockname()[1]}"


def test_without_a_network_one_error_names_the_host_and_the_way_on(server, out, monkeypatch):
    host = find_closed_port()
    monkeypatch.setenv(openneuro_client.API_VARIABLE, f"http://{host}/crn/graphql")
    with pytest.raises(UnreachableError, match=f"{host} does not answer.*run the command again"):
        fetch(out)
    assert not (out / "raw").exists()


def test_without_a_network_versions_at_hand_are_named(server, out, monkeypatch):
    fetch(out)
    monkeypatch.setenv(openneuro_client.API_VARIABLE, f"http://{find_closed_port()}/crn/graphql")
    with pytest.raises(UnreachableError, match=r"Downloaded before: 1\.0\.0"):
        fetch(out, Source("ds000001", None))
    assert estimate(SOURCE, out, choose_images) == 0


def test_a_file_server_that_is_silent_for_all_is_an_error(server, out, monkeypatch):
    host = find_closed_port()
    monkeypatch.setattr(server, "address", f"http://{host}")
    with pytest.raises(UnreachableError, match=f"{host} does not answer.*run the command again"):
        fetch(out)


def test_an_interface_that_was_out_of_order_for_a_moment_is_asked_again(server, out):
    server.fail(GRAPHQL, "status", 503, times=2)
    assert fetch(out).failed == {}


def test_addresses_of_an_earlier_day_are_asked_for_anew(server, out):
    download_dataset(SOURCE, out, lambda _: [T1W], patience=HURRY)
    stored = out / "downloads" / "ds000001_1.0.0.json"
    stored.write_text(stored.read_text().replace("/files/ds000001/", "/files/gone/"))
    assert fetch(out).failed == {}


def test_a_file_that_was_cut_after_it_was_verified_is_completed(server, out):
    fetch(out)
    os.truncate(raw(out, T1W), 1000)
    server.log.clear()
    assert fetch(out).failed == {}
    assert server.ranges(T1W) == ["bytes=1000-"]
    assert is_whole(out, T1W)


def test_a_deeper_check_finds_what_sizes_hide_and_the_next_run_mends_it(server, out):
    fetch(out)
    assert verify_raw(out, "ds000001", "1.0.0") == {}
    raw(out, T1W).write_bytes(FILES[T1W][::-1])
    raw(out, "README").unlink()
    found = verify_raw(out, "ds000001", "1.0.0")
    assert found == {T1W: "has changed since it was downloaded"}
    assert fetch(out).failed == {}
    assert is_whole(out, T1W, "README")


def test_a_deeper_check_of_nothing_is_an_error(out):
    with pytest.raises(ValueError, match=r"no ds000001 1\.0\.0 was downloaded. Found: no version"):
        verify_raw(out, "ds000001", "1.0.0")


@pytest.mark.parametrize("damage", ["{", '{"files": [{"path": 1}]}', "[]"])
def test_a_damaged_state_is_named(server, out, damage):
    fetch(out)
    (out / "downloads" / "ds000001_1.0.0.json").write_text(damage)
    with pytest.raises(ValueError, match=r"ds000001_1\.0\.0\.json: .*Delete it"):
        fetch(out)


# What is published, faults included.


def make_voxels(tree: Path, version: str):
    """Contents that differ where the published ones do, of one size per image."""
    rows = read_images(tree, version)
    return lambda path: path.encode() + rows[path]["checksum"].encode()


@pytest.mark.parametrize("source", KNOWN_SOURCES.values(), ids=str)
def test_the_published_sizes_are_what_a_plan_counts(openneuro_server, openneuro_trees, out, source):
    tree = openneuro_trees / source.accession
    openneuro_server.publish(
        source.accession, source.version, read_tree(tree, source.version, lambda _: b"")
    )
    rows = read_images(tree, source.version)
    openneuro_server.listed_sizes = {path: int(row["size"]) for path, row in rows.items()}
    plan = plan_download(source, out, choose_images)
    images = [file for file in plan.wanted if file.path.endswith(".nii.gz")]
    assert sum(file.size for file in images) / 1e9 == pytest.approx(source.gigabytes, abs=5e-4)
    assert len(images) == 2 * source.subjects


def test_other_content_of_the_same_size_is_told_apart_and_versions_lie_apart(
    openneuro_server, openneuro_trees, out
):
    """ds003745 2.0.0 replaced the images of three subjects, byte for byte as long."""
    tree = openneuro_trees / "ds003745"
    for version in ("1.0.0", "2.1.1"):
        files = read_tree(tree, version, make_voxels(tree, version))
        openneuro_server.publish("ds003745", version, files)
    old, new = parse_sources("ds003745@1.0.0")[0], KNOWN_SOURCES["ds003745"]

    def choose(paths):
        return [p for p in choose_images(paths) if p.startswith(("sub-104/", "sub-106/"))]

    first = download_dataset(old, out, choose, patience=HURRY)
    assert first.failed == {}
    copied = out / "raw" / "ds003745" / "2.1.1"
    shutil.copytree(first.root, copied)
    (copied / DESCRIPTION).unlink()
    with pytest.raises(ValueError, match=r"sub-104/anat/sub-104_T1w.*, sub-104/anat/sub-104_T2w"):
        download_dataset(new, out, choose, patience=HURRY)
    shutil.rmtree(copied / "sub-104")
    for name in ("CHANGES", "README", ".bidsignore", "participants.tsv", "participants.json"):
        (copied / name).unlink()
    openneuro_server.log.clear()
    second = download_dataset(new, out, choose, patience=HURRY)
    assert second.failed == {}
    fetched = {one.path for one in openneuro_server.log if one.method == "GET"}
    assert {path for path in fetched if path.startswith("sub-")} == {
        "sub-104/anat/sub-104_T1w.nii.gz",
        "sub-104/anat/sub-104_T2w.nii.gz",
    }
    for name in ("T1w", "T2w"):
        path = f"sub-104/anat/sub-104_{name}.nii.gz"
        before, after = (first.root / path).read_bytes(), (second.root / path).read_bytes()
        assert len(before) == len(after)
        assert before != after


def test_friends_without_images_and_derivatives_are_not_fetched(
    openneuro_server, openneuro_trees, out
):
    tree = openneuro_trees / "ds003745"
    files = read_tree(tree, "2.1.1", make_voxels(tree, "2.1.1"))
    assert sum(path.endswith("_T1w.nii.gz") for path in files) == 3 * 50
    assert len({path.split("/")[0] for path in files if path.startswith("sub-2")}) == 48
    openneuro_server.publish("ds003745", "2.1.1", files)

    def choose(paths):
        return [p for p in choose_images(paths) if p.startswith(("sub-15", "sub-204"))]

    done = download_dataset(KNOWN_SOURCES["ds003745"], out, choose, patience=HURRY)
    assert done.failed == {}
    assert not (done.root / "derivatives").exists()
    assert (done.root / ".bidsignore").read_bytes() == (tree / ".bidsignore").read_bytes()
    sessions, _ = index_dataset(done.root, dataset="ds003745")
    expected = {p.split("/")[0] for p in files if p.startswith("sub-15")}
    assert {session.subject for session in sessions} == expected
    derived = next(path for path in files if path.startswith("derivatives/"))
    chosen = download_dataset(KNOWN_SOURCES["ds003745"], out, lambda _: [derived], patience=HURRY)
    assert (chosen.root / derived).read_bytes() == b"derived"


def test_invalid_sidecars_and_tables_of_every_kind_arrive_as_published(
    openneuro_server, openneuro_trees, out
):
    for source in KNOWN_SOURCES.values():
        tree = openneuro_trees / source.accession
        files = read_tree(tree, source.version, make_voxels(tree, source.version))
        openneuro_server.publish(source.accession, source.version, files)
        sidecars = [path for path in ("T1w.json", "T2w.json") if path in files]
        done = download_dataset(source, out, lambda _, s=tuple(sidecars): s, patience=HURRY)
        assert done.failed == {}
        for path in ("participants.tsv", DESCRIPTION, *sidecars):
            assert (done.root / path).read_bytes() == (tree / path).read_bytes()
    broken = out / "raw" / "ds002330" / "1.1.0" / "T1w.json"
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.read_text())


def test_a_version_that_never_was_is_answered_with_those_that_are(
    openneuro_server, openneuro_trees, out
):
    tree = openneuro_trees / "ds002382"
    openneuro_server.publish("ds002382", "1.0.0", read_tree(tree, "1.0.0", lambda _: b""))
    (source,) = parse_sources("ds002382@1.0.1")
    with pytest.raises(ValueError, match=r"no version 1\.0\.1\. Published: 1\.0\.0"):
        download_dataset(source, out, choose_images, patience=HURRY)
