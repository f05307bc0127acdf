"""From OpenNeuro to slices over the five published trees, whatever goes wrong on the way."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from data_prep import openneuro_build
from data_prep.bids import index_listing
from data_prep.build import BuildOptions, Outcome
from data_prep.cluster import Workers
from data_prep.dataset_options import DatasetOptions
from data_prep.download_rounds import Patience
from data_prep.openneuro_answers import UnreachableError
from data_prep.openneuro_build import FetchRules, build_from_openneuro
from data_prep.openneuro_estimate import estimate_build, format_estimates
from data_prep.openneuro_inputs import OpenNeuroInputs, list_subjects
from data_prep.sources import KNOWN_SOURCES, parse_sources
from data_prep.verify import verify_dataset
from tests.make_target import SMALL as SMALL_TRAINING
from tests.make_target import make
from tests.openneuro_server import OpenNeuroServer, read_images, read_tree
from tests.slice_dataset_files import read_files
from tests.small_heads import make_head, make_quick_bundle

ALL = ",".join(KNOWN_SOURCES)
QUICK = Patience(rounds=3, first_wait_s=0.01, longest_wait_s=0.05, retries=1)


def make_options(**changes) -> BuildOptions:
    """Without N4, in this process."""
    return BuildOptions(make_quick_bundle(), Workers(1), **changes)


def list_first_subjects(trees: Path) -> dict[str, str]:
    """The first subject of each dataset, whose scans are made; the others are only listed."""
    found = {}
    for name, source in KNOWN_SOURCES.items():
        tree = read_tree(trees / name, str(source.version), str.encode)
        sessions, _ = index_listing(tree, trees, dataset=name)
        found[name] = sessions[0].subject
    return found


@pytest.fixture(scope="session")
def published(openneuro_trees: Path) -> dict[str, dict[str, bytes]]:
    """Every file of the five datasets: small heads for the first subjects, else a few bytes."""
    first = list_first_subjects(openneuro_trees)

    def make_content(name: str, path: str) -> bytes:
        if not (path.startswith(f"{first[name]}/") and path.endswith(".nii.gz")):
            return path.encode()
        seed = sum(f"{name}{first[name]}".encode())
        head = make_head(seed, "T1w" if "_T1w" in path else "T2w")
        return gzip.compress(head.to_bytes(), compresslevel=1, mtime=0)

    return {
        name: read_tree(
            openneuro_trees / name,
            str(source.version),
            lambda path, name=name: make_content(name, path),
        )
        for name, source in KNOWN_SOURCES.items()
    }


@pytest.fixture
def server(openneuro_server: OpenNeuroServer, published) -> OpenNeuroServer:
    for name, files in published.items():
        openneuro_server.publish(name, str(KNOWN_SOURCES[name].version), files)
    return openneuro_server


def make_inputs(datasets: str = ALL, **options) -> OpenNeuroInputs:
    sources = parse_sources(datasets)
    methods = {source.accession: "none" for source in sources}
    return OpenNeuroInputs(
        sources, DatasetOptions(methods, (), {}), **{"max_subjects": 1, **options}
    )


def build(
    out: Path, datasets: str = ALL, *, rules: FetchRules | None = None, by_site=False, **chosen
) -> Outcome:
    options = make_options(split_by_site=by_site)
    rules = rules or FetchRules(patience=QUICK)
    return build_from_openneuro(out, make_inputs(datasets, **chosen), options, rules)


def read_built(out: Path) -> dict[str, bytes]:
    """What a build makes of the scans: tables, shards and records."""
    files = read_files(out)
    return {name: files[name] for name in files if not name.startswith(("raw/", "downloads/"))}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, openneuro_trees, published) -> Path:
    """One subject of each of the five, built without a fault."""
    from tests.openneuro_server import running_server

    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with running_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment(out.parent / "config").items():
            patch.setenv(name, value)
        for name, files in published.items():
            server.publish(name, str(KNOWN_SOURCES[name].version), files)
        assert build(out) == Outcome(0, has_tables=True)
    return out


def list_scans(out: Path) -> list[str]:
    """Fetched scans, relative to their datasets."""
    return sorted("/".join(p.parts[-3:]) for p in out.glob("raw/*/*/sub-*/anat/*.nii.gz"))


def test_one_subject_of_each_of_the_five_gives_a_sound_dataset(undisturbed):
    assert verify_dataset(undisturbed) == []
    subjects = pd.read_csv(undisturbed / "subjects.tsv", sep="\t")
    assert sorted(subjects["dataset"]) == sorted(KNOWN_SOURCES)
    assert subjects["has_pair"].all()
    sources = json.loads((undisturbed / "dataset.json").read_text())["sources"]
    assert sources["ds002330"] == {
        "name": "Neuroimaging predictors of creativity in healthy adults",
        "version": "1.1.0",
        "doi": "10.18112/openneuro.ds002330.v1.1.0",
        "license": "CC0",
        "citation": KNOWN_SOURCES["ds002330"].citation,
    }
    assert len(list_scans(undisturbed)) == 10


FAULTS = (
    ("status", 503, {"times": 2}),
    ("cut", 1000, {}),
    ("wrong", None, {}),
    ("status", 429, {"headers": {"Retry-After": "0"}}),
    ("slow", 0.3, {}),
    ("redirect", None, {}),
)


@pytest.mark.slow
def test_faults_of_the_network_change_no_byte(server, undisturbed, tmp_path):
    scans = list_scans(undisturbed)
    for path, (kind, value, options) in zip(scans, FAULTS, strict=False):
        server.fail(path, kind, value, **options)
    server.fail(scans[6], "cut", 1000)
    server.fail(scans[6], "whole")  # the rest is asked for, and everything is sent
    server.fail("graphql", "status", 503, times=2)
    assert build(tmp_path / "out") == Outcome(0, has_tables=True)
    assert read_built(tmp_path / "out") == read_built(undisturbed)


@pytest.mark.parametrize(
    ("kind", "value", "reason"), [("wrong", None, "its MD5 is"), ("status", 404, "404")]
)
def test_what_cannot_be_had_is_left_out_and_comes_with_a_later_run(
    server, undisturbed, tmp_path, kind, value, reason
):
    out, scan = tmp_path / "out", "sub-104/anat/sub-104_T1w.nii.gz"
    keep_other_datasets(undisturbed, out, "ds003745")
    server.fail(scan, kind, value, times=10**9)
    assert build(out) == Outcome(2, has_tables=True)
    table = pd.read_csv(out / "exclusions.tsv", sep="\t").set_index("file")["reason"]
    assert reason in table["sub-104_T1w.nii.gz"]
    assert table["sub-104_T2w.nii.gz"] == "another scan of this session could not be fetched"
    assert len(pd.read_csv(out / "subjects.tsv", sep="\t")) == 4
    server.faults.clear()
    assert build(out) == Outcome(0, has_tables=True)
    assert read_built(out) == read_built(undisturbed)


def keep_other_datasets(built: Path, out: Path, name: str) -> None:
    """Copy a build as if one dataset had never been fetched, and no table been written."""
    shutil.copytree(built, out)
    for path in (*out.glob(f"*/{name}"), *out.glob(f"*/{name}[._]*"), *out.glob("[!.]*.*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def build_in_a_child(out: Path) -> int:
    """Start a build in a process group of its own, without waiting for imports."""
    child = os.fork()
    if child == 0:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        build(out)
        os._exit(0)
    return child


def kill_at_random_moments(out: Path, seed: int, kills: int, longest_s: float) -> int:
    """Kill so many builds of one folder; returns how many were under way."""
    moments, killed = random.Random(seed), 0
    for _ in range(kills):
        child = build_in_a_child(out)
        time.sleep(moments.uniform(0.05, longest_s))
        if os.waitpid(child, os.WNOHANG) == (0, 0):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
    return killed


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("kills", "longest_s"), [(3, 3.0), pytest.param(10, 2.0, marks=pytest.mark.slow)]
)
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    server, undisturbed, tmp_path, kills, longest_s
):
    assert kill_at_random_moments(tmp_path / "out", kills, kills, longest_s) >= kills // 2
    assert build(tmp_path / "out").left_out == 0
    assert read_built(tmp_path / "out") == read_built(undisturbed)
    raw = [{p: b for p, b in read_files(out).items() if p.startswith("raw/")}
           for out in (tmp_path / "out", undisturbed)]  # fmt: skip
    assert raw[0] == raw[1]


def test_a_finished_build_asks_nothing_of_the_network(server, undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "out")
    assert build(tmp_path / "out").left_out == 0
    assert server.log == []


def test_scans_are_removed_only_where_asked_and_only_what_was_fetched(
    server, undisturbed, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    mine = out / "raw" / "ds002330" / "1.1.0" / "sub-01" / "anat" / "mine.nii.gz"
    mine.write_bytes(b"mine")
    build(out, rules=FetchRules(clean=True, patience=QUICK))
    assert [path.split("/")[-1] for path in list_scans(out)] == ["mine.nii.gz"]
    build(out)  # what is done stays done, and is not fetched again
    assert server.log == []
    assert read_built(out) == read_built(undisturbed)


def test_a_dry_run_counts_the_published_trees_and_writes_nothing(server, tmp_path, openneuro_trees):
    out, estimates = tmp_path / "out", []
    for name, source in KNOWN_SOURCES.items():
        rows = read_images(openneuro_trees / name, str(source.version))
        server.listed_sizes = {path: int(row["size"]) for path, row in rows.items()}
        estimates += estimate_build(out, make_inputs(name, max_subjects=None), make_options())
    assert [each.pairs for each in estimates] == [66, 61, 60, 50, 78]
    assert sum(each.missing_gb for each in estimates) == pytest.approx(30.63, abs=0.05)
    assert "Fetching 30.6 GB: 0.9 h at 10 MB/s. Preparing 315 sessions" in format_estimates(
        estimates, workers=2
    )
    assert not out.exists()


def test_subjects_are_named_by_label_or_by_id(server, tmp_path):
    chosen = {"max_subjects": None, "subjects": ["01", "ds003745_sub-104"]}
    out = tmp_path / "out"  # beside the client's configuration
    estimates = estimate_build(out, make_inputs("ds002330,ds003745", **chosen), make_options())
    assert [(each.dataset, each.subjects) for each in estimates] == [
        ("ds002330 1.1.0", 1),
        ("ds003745 2.1.1", 1),
    ]
    with pytest.raises(ValueError, match="--subjects names sub-9999, which is in none of ds002330"):
        build(out, "ds002330", subjects=["sub-9999"])


@pytest.mark.slow
def test_sites_stay_on_one_side(server, tmp_path):
    """Three datasets of one site, two others: three groups give three parts."""
    build(tmp_path / "out", by_site=True)
    subjects = pd.read_csv(tmp_path / "out" / "subjects.tsv", sep="\t").set_index("dataset")
    same = subjects.loc[["ds002382", "ds003717", "ds004285"]]
    assert same["group"].nunique() == 1
    assert same["split"].nunique() == 1
    assert set(subjects["split"]) == {"train", "validation", "test"}


def test_a_dataset_added_later_moves_nobody(server, undisturbed, tmp_path):
    build(tmp_path / "out", "ds002330,ds003745")
    before = pd.read_csv(tmp_path / "out" / "splits.tsv", sep="\t")
    build(tmp_path / "out")
    after = pd.read_csv(tmp_path / "out" / "splits.tsv", sep="\t")
    kept = after[after["dataset"].isin(before["dataset"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)
    assert read_built(tmp_path / "out") == read_built(undisturbed)


def test_a_scan_without_a_checksum_is_used_only_where_asked(server, undisturbed, tmp_path):
    path = next(path for path in list_scans(undisturbed) if path.startswith("sub-104"))
    server.fail(path, "no_etag", times=10**9)
    assert build(tmp_path / "out", "ds002330,ds003745").left_out == 2
    reasons = pd.read_csv(tmp_path / "out" / "exclusions.tsv", sep="\t")["reason"]
    assert reasons.str.contains("OpenNeuro announces no checksum").any()
    rules = FetchRules(accept_unverified=True, patience=QUICK)
    assert build(tmp_path / "out", "ds002330,ds003745", rules=rules).left_out == 0


def test_a_scan_that_was_changed_after_its_download_is_not_used(server, undisturbed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    shutil.rmtree(out / "sessions" / "ds002330")
    (path, *_) = out.glob("raw/ds002330/1.1.0/sub-01/anat/*_T1w.nii.gz")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    assert build(out, "ds002330").left_out == 2
    reasons = pd.read_csv(out / "exclusions.tsv", sep="\t")["reason"]
    assert reasons.str.contains("has changed since it was verified").all()


def test_versions_do_not_mix_and_an_unpinned_one_stays(openneuro_server, published, tmp_path):
    for version in ("1.0.0", "1.1.0"):
        openneuro_server.publish("ds999999", version, published["ds002330"])
        first = min(list_subjects(published["ds002330"]))
        build(tmp_path / "out", "ds999999", subjects=[first])
    sources = json.loads((tmp_path / "out" / "dataset.json").read_text())["sources"]
    assert sources["ds999999"]["version"] == "1.0.0"  # the newest when it was begun
    with pytest.raises(
        ValueError, match=r"its version was '1.0.0' in an earlier run and is '1.1.0'"
    ):
        build(tmp_path / "out", "ds999999@1.1.0", subjects=[first])


def test_a_dataset_that_cannot_be_reached_does_not_keep_the_others(
    server, undisturbed, tmp_path, monkeypatch
):
    """The second of three."""
    real = openneuro_build.download_dataset

    def fail(source, *arguments, **options):
        if source.accession == "ds002382":
            raise UnreachableError("ds002382: no answer")
        return real(source, *arguments, **options)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(openneuro_build, "download_dataset", fail)
        assert build(out) == Outcome(2, has_tables=True)
    assert len(pd.read_csv(out / "subjects.tsv", sep="\t")) == 4
    assert build(out) == Outcome(0, has_tables=True)
    assert read_built(out) == read_built(undisturbed)


@pytest.mark.slow
def test_a_scan_of_others_in_the_way_costs_its_dataset_only(server, undisturbed, tmp_path):
    out = tmp_path / "out"
    (scan,) = undisturbed.glob("raw/ds002330/*/sub-*/anat/*T1w.nii.gz")
    mine = out / scan.relative_to(undisturbed)
    mine.parent.mkdir(parents=True)
    mine.write_bytes(bytes(scan.stat().st_size))
    (out / ".lock").touch()
    assert build(out) == Outcome(2, has_tables=True)
    left_out = pd.read_csv(out / "exclusions.tsv", sep="\t").query("dataset == 'ds002330'")
    assert left_out["reason"].str.contains("Move them away").sum() == 2
    assert mine.read_bytes() == bytes(scan.stat().st_size)
    mine.unlink()
    assert build(out) == Outcome(0, has_tables=True)
    assert read_built(out) == read_built(undisturbed)


@pytest.mark.parametrize("clean", [False, True])
def test_too_small_a_disk_for_all_datasets_is_noticed_before_the_first(
    server, undisturbed, tmp_path, monkeypatch, clean
):
    """What lies at hand does not count; with --clean only the largest dataset does."""
    names = ("ds002330", "ds003745")
    images = {
        name: sum(p.stat().st_size for p in undisturbed.glob(f"raw/{name}/*/sub-*/anat/*.nii.gz"))
        for name in names
    }
    needed = max(images.values()) if clean else sum(images.values())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, needed - 1))
    rules = FetchRules(clean=clean, patience=QUICK)
    with pytest.raises(ValueError, match="Make room, choose another folder or fewer datasets"):
        build(tmp_path / "out", ",".join(names), rules=rules)
    assert list_scans(tmp_path / "out") == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, needed))
    assert build(tmp_path / "out", ",".join(names), rules=rules).left_out == 0


def run_command(out: Path, *, seconds: float | None) -> int:
    """The documented command with two workers; killed with all of them where a time is given."""
    methods = ",".join(f"{name}=none" for name in KNOWN_SOURCES)
    command = [sys.executable, "-W", "ignore", "-m", "data_prep", "openneuro", str(out)]
    command += ["--max_subjects", "1", "--brain_extraction", methods, "--workers", "2"]
    command += ["--bundle", str(make_quick_bundle())]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


@pytest.mark.slow
def test_the_command_and_its_workers_killed_ten_times_under_faults_end_with_the_same_bytes(
    server, undisturbed, tmp_path
):
    for path, (kind, value, options) in zip(list_scans(undisturbed), FAULTS, strict=False):
        server.fail(path, kind, value, **options)
    moments = random.Random(10)
    for _ in range(10):
        run_command(tmp_path / "out", seconds=moments.uniform(4, 16))
    assert run_command(tmp_path / "out", seconds=None) == 0
    assert read_built(tmp_path / "out") == read_built(undisturbed)


def read_real_pairs(shared_data: Path) -> list[dict[str, bytes]]:
    """Brain-extracted T1w and T2w of four heads."""
    folders = [
        *shared_data.glob("cstar/sub-*/**/anat"),
        *shared_data.glob("openms_mni/sub-*/**/anat"),
    ]
    return [
        {name: next(folder.glob(f"*_{name}.nii.gz")).read_bytes() for name in ("T1w", "T2w")}
        for folder in sorted(folders)
    ]


def choose_voxels(pair: dict[str, bytes], subject: str, path: str) -> bytes:
    """A real scan for the subject that is built, a few bytes for the others."""
    if not path.startswith(f"{subject}/"):
        return path.encode()
    return pair["T1w" if "_T1w" in path else "T2w"]


@pytest.mark.slow
def test_real_scans_in_the_published_trees_give_a_sound_dataset_whatever_happens(
    openneuro_server, openneuro_trees, shared_data, tmp_path
):
    pairs, first = read_real_pairs(shared_data), list_first_subjects(openneuro_trees)
    for index, (name, source) in enumerate(KNOWN_SOURCES.items()):
        voxels = partial(choose_voxels, pairs[index % len(pairs)], first[name])
        tree = read_tree(openneuro_trees / name, str(source.version), voxels)
        openneuro_server.publish(name, str(source.version), tree)
    assert build(tmp_path / "one") == Outcome(0, has_tables=True)
    assert verify_dataset(tmp_path / "one") == []
    for path, (kind, value, options) in zip(list_scans(tmp_path / "one"), FAULTS, strict=False):
        openneuro_server.fail(path, kind, value, **options)
    kill_at_random_moments(tmp_path / "two", 5, 5, 40.0)
    assert build(tmp_path / "two") == Outcome(0, has_tables=True)
    assert read_built(tmp_path / "two") == read_built(tmp_path / "one")


@pytest.mark.slow
def test_one_command_leads_from_openneuro_to_weights(server, tmp_path, monkeypatch):
    for name, value in server.environment(tmp_path / "config").items():
        monkeypatch.setenv(name, value)
    methods = ",".join(f"{name}=none" for name in KNOWN_SOURCES)
    make(
        "openneuro", OPENNEURO=str(tmp_path / "out"),
        TRAINING_OPTIONS=f"{SMALL_TRAINING} --sampling shuffled",
        OPENNEURO_OPTIONS=f"--max_subjects 1 --split_by site --brain_extraction {methods}",
    )  # fmt: skip
    for name in ("data/report.html", "run/model.pt", "run/evaluation/report.html"):
        assert (tmp_path / "out" / name).is_file()
    assert list_scans(tmp_path / "out" / "data") == []  # removed once their dataset was done
