"""Which T1w and T2w images a BIDS dataset holds, read from names alone."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bids2table import format_bids_path, get_column_names, parse_bids_entities

NIFTI_EXTENSIONS = (".nii", ".nii.gz")
CONTRASTS = ("T1w", "T2w")

PLAIN_ENTITIES = frozenset({"sub", "ses", "task", "acq", "ce", "rec", "run"})
"""What BIDS allows in the name of a whole anatomical image. Of the others `part-`, `echo-`,
`inv-`, `flip-` and `chunk-` mark one of several images, `space-` and `desc-` a derivative."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanSession:
    """The T1w and the T2w image of one session; at least one of them is there."""

    dataset: str
    subject: str  # "sub-01"
    session: str | None  # "ses-1"
    t1w: Path | None
    t2w: Path | None

    @property
    def subject_id(self) -> str:
        """Unique across datasets: `ds002330_sub-01`."""
        return f"{self.dataset}_{self.subject}"


@dataclass(frozen=True)
class Exclusion:
    """One line of `exclusions.tsv`; `session` and `file` are "" where there is none."""

    dataset: str
    subject_id: str
    session: str
    file: str  # name without its folder
    reason: str


def index_dataset(
    root: Path, *, participant_label: Sequence[str] | None = None, dataset: str | None = None
) -> tuple[list[ScanSession], list[Exclusion]]:
    """Find the T1w and T2w images in `sub-*/[ses-*/]anat/` of a raw BIDS dataset.

    Derivatives, source data, hidden files, side-cars and `.bidsignore` play no part: names
    decide. Where a session has several T1w (or T2w), the name with the fewest entities is
    taken, then the first in natural order (run-2 before run-10); the others are excluded.

    Args:
        root: The dataset's folder.
        participant_label: Subjects to read, with or without `sub-`; None reads all.
        dataset: The dataset's name; the folder's own name when None.

    Returns:
        Sessions in natural order of subject and session, and what was left out and why.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is no BIDS dataset, a participant is missing, or nothing is usable.
    """
    folders = _select_subjects(root, participant_label)
    dataset = dataset or (root.resolve() if root.name in ("", "..") else root).name
    sessions: list[ScanSession] = []
    exclusions: list[Exclusion] = []
    for folder in folders:
        found, left_out = _index_subject(folder, dataset)
        sessions += found
        exclusions += left_out
    if not sessions:
        reasons = Counter(exclusion.reason for exclusion in exclusions).most_common(3)
        seen = "; ".join(f"{reason} ({count} times)" for reason, count in reasons)
        raise ValueError(
            f"{root}: no usable T1w or T2w image among {len(folders)} subjects. Found: {seen}. "
            "Expected sub-*/[ses-*/]anat/*_T1w.nii[.gz] or *_T2w.nii[.gz]."
        )
    return sessions, exclusions


def _select_subjects(root: Path, participant_label: Sequence[str] | None) -> list[Path]:
    """The subject folders asked for, in natural order."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"{root}: {what}; expected the folder of a BIDS dataset.")
    names = sorted(path.name for path in root.iterdir())
    folders = [root / name for name in names if name.startswith("sub-") and (root / name).is_dir()]
    if not folders:
        seen = f"holds {', '.join(names[:5])} ..." if names else "is empty"
        raise ValueError(f"{root}: {seen}; expected the sub-* folders of a BIDS dataset.")
    folders.sort(key=lambda path: _natural_key(path.name))
    if participant_label is None:
        return folders
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in participant_label}
    present = [folder.name for folder in folders]
    if missing := sorted(wanted.difference(present)):
        raise ValueError(
            f"{root}: no participant {', '.join(missing)}. Found: {', '.join(present)}."
        )
    return [folder for folder in folders if folder.name in wanted]


def _index_subject(folder: Path, dataset: str) -> tuple[list[ScanSession], list[Exclusion]]:
    sessions: list[ScanSession] = []
    exclusions: list[Exclusion] = []
    names = [path.name for path in folder.iterdir() if path.name.startswith("ses-")]
    for session in (None, *sorted(names, key=_natural_key)):
        found, left_out = _index_session(folder, session, dataset)
        exclusions += left_out
        if found is not None:
            sessions.append(found)
    if not sessions and not exclusions:
        reason = "no NIfTI image in an anat folder"
        exclusions.append(Exclusion(dataset, f"{dataset}_{folder.name}", "", "", reason))
    return sessions, exclusions


def _index_session(
    folder: Path, session: str | None, dataset: str
) -> tuple[ScanSession | None, list[Exclusion]]:
    """Choose a session's T1w and T2w; None when it has neither."""
    candidates: dict[str, list[Path]] = {contrast: [] for contrast in CONTRASTS}
    reasons: dict[str, str] = {}
    for path in _nifti_files(folder / (session or "") / "anat"):
        reason = _why_not(path, folder.name, session)
        if reason:
            reasons[path.name] = reason
        else:
            candidates[parse_bids_entities(path.name)["suffix"]].append(path)
    chosen: dict[str, Path | None] = {}
    for contrast, paths in candidates.items():
        ranked = sorted(paths, key=_preference)
        chosen[contrast] = ranked[0] if ranked else None
        for other in ranked[1:]:
            reasons[other.name] = f"another {contrast} of this session is used: {ranked[0].name}"
    subject_id = f"{dataset}_{folder.name}"
    exclusions = [Exclusion(dataset, subject_id, session or "", *item) for item in reasons.items()]
    if not any(chosen.values()):
        return None, exclusions
    return ScanSession(dataset, folder.name, session, chosen["T1w"], chosen["T2w"]), exclusions


def _nifti_files(folder: Path) -> Iterator[Path]:
    """NIfTI files in natural order, hidden ones (`._sub-01_T1w.nii.gz` of macOS) left aside."""
    if folder.is_dir():
        for path in sorted(folder.iterdir(), key=lambda path: _natural_key(path.name)):
            if path.name.endswith(NIFTI_EXTENSIONS) and not path.name.startswith("."):
                yield path


def _why_not(path: Path, subject: str, session: str | None) -> str:
    """Why this file of an anat folder is no T1w or T2w to use; "" when it is one."""
    entities = parse_bids_entities(path.name)
    *parts, last = path.name.removesuffix(".gz").removesuffix(".nii").split("_")
    if last not in CONTRASTS:
        return f"{last} is neither T1w nor T2w"
    if unnamed := [part for part in parts if "-" not in part]:
        return f"not a BIDS name: {unnamed[0]} is no key-value pair"
    place = {"sub": subject.removeprefix("sub-")}
    if session is not None:
        place["ses"] = session.removeprefix("ses-")
    if {key: entities[key] for key in ("sub", "ses") if key in entities} != place:
        return f"the name disagrees with its folder {'/'.join(filter(None, (subject, session)))}"
    if others := sorted(set(entities) - PLAIN_ENTITIES - {"suffix", "ext", "datatype"}):
        key = others[0]
        return f"{key}-{entities[key]} marks a part or a derivative, not a whole raw {last} image"
    if not path.is_file():
        return "not a file: a broken link or a folder; fetch its content first"
    return ""


def _preference(path: Path) -> tuple[int, list[str | int]]:
    return len(parse_bids_entities(path.name)), _natural_key(path.name)


def _natural_key(name: str) -> list[str | int]:
    """Numbers by value, so that run-2 comes before run-10; text and numbers alternate."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def shard_stem(path_name: str, *, space: str | None) -> str:
    """The shard's name: the image's entities in the order of BIDS, with `space-` where given.

    `parse_bids_entities` is the inverse.
    """
    entities = parse_bids_entities(Path(path_name).name)
    if "sub" not in entities or "suffix" not in entities:
        raise ValueError(f"{path_name}: not a BIDS name; expected sub-*_T1w.nii.gz or the like.")
    entities.pop("ext", None)
    if space is not None:
        entities["space"] = space
    order = _entity_order()
    ordered = sorted(entities, key=lambda key: order.get(key, order["desc"]))
    return str(format_bids_path({key: entities[key] for key in ordered}).name)


@cache
def _entity_order() -> dict[str, int]:
    """The rank of each entity in a BIDS name."""
    return {column.name: rank for rank, column in enumerate(get_column_names())}


def read_dataset_description(root: Path) -> dict[str, str]:
    """Name, version, DOI and licence of a dataset, "" where it does not say.

    OpenNeuro's versions stand at the end of the DOI (`openneuro.ds002330.v1.1.0`); failing
    that, BIDS puts the newest version first in `CHANGES`.
    """
    path = root / "dataset_description.json"
    described: object = {}
    try:
        described = json.loads(path.read_bytes().decode("utf-8-sig", errors="replace"))
    except FileNotFoundError:
        pass
    except json.JSONDecodeError as error:
        logger.warning("%s is not valid JSON (%s); its name and licence stay unknown", path, error)
    fields = described if isinstance(described, dict) else {}
    texts = {key: value.strip() for key, value in fields.items() if isinstance(value, str)}
    doi = texts.get("DatasetDOI", "").removeprefix("doi:")
    return {
        "name": texts.get("Name", ""),
        "version": _version(root, doi),
        "doi": doi,
        "license": texts.get("License", ""),
    }


def _version(root: Path, doi: str) -> str:
    if match := re.search(r"\.v(\d[\w.]*)$", doi):
        return match.group(1)
    changes = root / "CHANGES"
    if changes.is_file():
        for line in changes.read_text(encoding="utf-8", errors="replace").splitlines():
            if line[:1].isdecimal():
                return line.split()[0]
    return ""
