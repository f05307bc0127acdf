"""The datasets of OpenNeuro that this project names, held against what was published."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import pytest

from data_prep.sources import KNOWN_SOURCES, Source, format_doi, parse_sources


def read_rows(tree: Path) -> list[dict[str, str]]:
    with (tree / "images.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize("source", KNOWN_SOURCES.values(), ids=str)
def test_counts_and_licences_are_those_of_the_published_lists(openneuro_trees: Path, source):
    tree = openneuro_trees / source.accession
    rows = [row for row in read_rows(tree) if row["version"] == source.version]
    images = [row for row in rows if row["path"].endswith(".nii.gz")]
    contrasts = defaultdict(set)
    for row in images:
        contrasts[row["path"].split("/")[0]].add(row["path"].removesuffix(".nii.gz")[-3:])
    assert sum(found == {"T1w", "T2w"} for found in contrasts.values()) == source.subjects
    assert sum(int(row["size"]) for row in images) / 1e9 == pytest.approx(
        source.gigabytes, abs=5e-4
    )
    description = json.loads((tree / "dataset_description.json").read_text(encoding="utf-8"))
    assert description["License"] == source.licence
    newest = description["DatasetDOI"].removeprefix("doi:").partition(".v")[2]
    assert description["DatasetDOI"].endswith(format_doi(source.accession, newest))


def test_the_versions_chosen_hold_the_images_of_the_newest(openneuro_trees: Path):
    for source in KNOWN_SOURCES.values():
        versions = defaultdict(dict)
        for row in read_rows(openneuro_trees / source.accession):
            if row["path"].endswith(".nii.gz"):
                versions[row["version"]][row["path"]] = row["checksum"]
        assert versions[source.version] == versions[max(versions)]


def test_three_datasets_share_a_site():
    sites = defaultdict(set)
    for source in KNOWN_SOURCES.values():
        sites[source.site].add(source.accession)
    assert {"ds002382", "ds003717", "ds004285"} in sites.values()
    assert len(sites) == 3


def test_names_versions_and_unknown_datasets_are_understood():
    pinned, other, unknown, given = parse_sources("ds002330, ds003745@2.0.0,ds000001,ds000002@1.2")
    assert pinned == KNOWN_SOURCES["ds002330"]
    assert (other.version, other.doi) == ("2.0.0", "10.18112/openneuro.ds003745.v2.0.0")
    assert (other.site, other.subjects, other.gigabytes) == ("Temple University", None, None)
    assert unknown == Source("ds000001", None)
    assert given.doi == "10.18112/openneuro.ds000002.v1.2"


def test_a_command_line_may_hand_over_a_list_and_the_pinned_version():
    assert parse_sources(("ds002330@1.1.0",)) == (KNOWN_SOURCES["ds002330"],)


@pytest.mark.parametrize(
    "name",
    [
        "ds2330",
        "DS002330",
        "ds002330@",
        "ds002330@../x",
        "ds002330@1@2",
        "ds0023301",
        "@1.0.0",
        ".",
    ],
)
def test_a_malformed_name_is_refused_with_the_way_out(name):
    with pytest.raises(ValueError, match=r"Expected ds and six digits.*ds002330@1\.1\.0"):
        parse_sources(name)


def test_no_name_is_refused_with_names_to_choose_from():
    with pytest.raises(ValueError, match="ds002330,ds002382"):
        parse_sources(" , ")


def test_two_versions_of_one_dataset_are_refused():
    with pytest.raises(ValueError, match="ds003745: named more than once"):
        parse_sources("ds003745,ds002330,ds003745@1.0.0")
