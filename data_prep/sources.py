"""The OpenNeuro datasets that this project was made for, and how a command line names datasets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data_prep.command_line import split_list

ACCESSION = re.compile(r"ds\d{6}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DOI_PREFIX = "10.18112/openneuro"


@dataclass(frozen=True)
class Source:
    """A dataset of OpenNeuro in one version; "" and None where nothing is known.

    Attributes:
        accession: such as ``ds002330``; also the dataset's name and folder.
        version: None until OpenNeuro was asked for the newest.
        doi: of this version.
        licence: as the dataset's description gives it.
        citation: what a paper cites.
        site: where the scanner stands. Datasets of one site belong on one side of an external
            split.
        subjects: with a T1w and a T2w.
        gigabytes: of the T1w and T2w images, in 10^9 bytes.
    """

    accession: str
    version: str | None
    doi: str = ""
    licence: str = ""
    citation: str = ""
    site: str = ""
    subjects: int | None = None
    gigabytes: float | None = None

    def __str__(self) -> str:
        return f"{self.accession} {self.version or '(newest version)'}"


def format_doi(accession: str, version: str) -> str:
    """The identifier that OpenNeuro registers for a version."""
    return f"{DOI_PREFIX}.{accession}.v{version}"


def _pin(
    accession: str, version: str, citation: str, site: str, subjects: int, gigabytes: float
) -> Source:
    doi = format_doi(accession, version)
    return Source(accession, version, doi, "CC0", citation, site, subjects, gigabytes)


# Counted in the published file lists; licences and citations from dataset_description.json.
# ds002382, ds003717 and ds004285 have the same group, scanner and protocol.
KNOWN_SOURCES = {
    source.accession: source
    for source in (
        _pin(
            "ds002330",
            "1.1.0",
            "Sunavsky and Poppenk (2020), NeuroImage 206:116292",
            "Queen's University",
            subjects=66,
            gigabytes=3.644,
        ),
        _pin(
            "ds002382",
            "1.0.0",  # a version 1.0.1, named elsewhere, was never published
            "Rogers et al. (2020), The neural basis of spoken word perception in older adults",
            "Washington University",
            subjects=61,
            gigabytes=8.004,
        ),
        _pin(
            "ds003717",
            "1.0.1",  # its images are those of 1.0.0 and 1.1.0; only tables differ
            "Peelle et al. (2022), Journal of Neuroscience 42:435-442",
            "Washington University",
            subjects=60,
            gigabytes=7.877,
        ),
        _pin(
            "ds003745",
            "2.1.1",  # 2.0.0 replaced six images of 1.0.0; since then the images are the same
            "Smith et al. (2024), Scientific Data; Fareri et al. (2022), NeuroImage",
            "Temple University",
            subjects=50,
            gigabytes=0.890,
        ),
        _pin(
            "ds004285",
            "1.0.0",
            "Rogers, Jones, McConkey and Peelle (2022), Listening task",
            "Washington University",
            subjects=78,
            gigabytes=10.212,
        ),
    )
}


def parse_sources(names: str | Sequence[str]) -> tuple[Source, ...]:
    """Datasets as a command line names them: ``ds002330,ds003745@2.0.0,ds000001``.

    A known dataset without a version has the one that it is pinned to, any other dataset the
    newest.

    Raises:
        ValueError: no name, a malformed name, or the same dataset twice.
    """
    sources = tuple(_parse_source(name) for name in split_list(names))
    if not sources:
        raise ValueError(f"no dataset. Name some of OpenNeuro: {','.join(KNOWN_SOURCES)}.")
    counts = Counter(source.accession for source in sources)
    if twice := [accession for accession, count in counts.items() if count > 1]:
        raise ValueError(
            f"{', '.join(twice)}: named more than once. Expected one version of each dataset; "
            "build another version in a folder of its own."
        )
    return sources


def _parse_source(name: str) -> Source:
    accession, at, version = name.partition("@")
    if not ACCESSION.fullmatch(accession) or (at and not VERSION.fullmatch(version)):
        raise ValueError(
            f"{name!r}: no dataset of OpenNeuro. Expected ds and six digits, with a version or "
            "without: ds002330 or ds002330@1.1.0."
        )
    known = KNOWN_SOURCES.get(accession, Source(accession, None))
    return with_version(known, version) if at else known


def with_version(source: Source, version: str) -> Source:
    """The same dataset in another version, of which no counts are known."""
    if version == source.version:
        return source
    doi = format_doi(source.accession, version)
    return replace(source, version=version, doi=doi, subjects=None, gigabytes=None)
