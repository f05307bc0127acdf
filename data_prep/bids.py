"""Which T1w and T2w images a BIDS dataset holds, from a folder or from a list of its paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.bids_names import (
    CONTRASTS,
    NIFTI_EXTENSIONS,
    as_text,
    explain_rejection,
    natural_key,
    rank_candidate,
    read_contrast,
)

# Unlike the other reasons this is not about names: such an image is missed.
NOT_A_FILE = "not a file: a broken link or a folder; fetch its content first"
# The files of a subject's anat folders by session; None is the folder without one.
AnatFiles = Mapping[str | None, Sequence[Path]]


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
    dataset = dataset or (root.resolve() if root.name in ("", "..") else root).name
    chosen = _select_subjects(str(root), list_subjects(root), participant_label)
    files = {name: _read_subject(root / name) for name in chosen}
    return _index_subjects(str(root), dataset, files, Path.is_file)


def index_listing(
    paths: Iterable[str],
    root: Path,
    *,
    dataset: str,
    participant_label: Sequence[str] | None = None,
) -> tuple[list[ScanSession], list[Exclusion]]:
    """The same from the relative paths of a dataset that need not be on this machine.

    Args:
        paths: of all its files, `sub-01/anat/sub-01_T1w.nii.gz`.
        root: folder that they lie in, or will.
        dataset: its name.
        participant_label: subjects to read, with or without `sub-`; None reads all.

    Raises:
        ValueError: a participant is missing, or nothing is usable.
    """
    subjects = _sort_into_subjects(paths, root)
    if not subjects:
        raise ValueError(f"{dataset}: its listing holds no sub-* folder.")
    chosen = _select_subjects(dataset, sorted(subjects, key=natural_key), participant_label)
    files = {name: subjects[name] for name in chosen}
    return _index_subjects(dataset, dataset, files, lambda path: True)


def list_subjects(root: Path) -> list[str]:
    """Names of the subject folders, in natural order."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"{root}: {what}; expected the folder of a BIDS dataset.")
    names = sorted(path.name for path in root.iterdir())
    subjects = [name for name in names if name.startswith("sub-") and (root / name).is_dir()]
    if not subjects:
        seen = f"holds {', '.join(names[:5])} ..." if names else "is empty"
        raise ValueError(f"{root}: {seen}; expected the sub-* folders of a BIDS dataset.")
    return sorted(subjects, key=natural_key)


def _select_subjects(
    place: str, present: Sequence[str], participant_label: Sequence[str] | None
) -> Sequence[str]:
    """The subjects asked for, in the order of those present."""
    if participant_label is None:
        return present
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in participant_label}
    if missing := sorted(wanted.difference(present)):
        raise ValueError(
            f"{place}: no participant {', '.join(missing)}. Found: {', '.join(present)}."
        )
    return [name for name in present if name in wanted]


def _read_subject(folder: Path) -> AnatFiles:
    sessions = [path.name for path in folder.iterdir() if path.name.startswith("ses-")]
    folders = {session: folder / (session or "") / "anat" for session in (None, *sessions)}
    return {name: list(place.iterdir()) for name, place in folders.items() if place.is_dir()}


def _sort_into_subjects(
    paths: Iterable[str], root: Path
) -> dict[str, dict[str | None, list[Path]]]:
    subjects: dict[str, dict[str | None, list[Path]]] = {}
    for path in paths:
        subject, *folders = PurePosixPath(path).parts[:-1] or ("",)
        if not subject.startswith("sub-"):
            continue
        sessions = subjects.setdefault(subject, {})
        session = folders[0] if folders and folders[0].startswith("ses-") else None
        if folders == ([session, "anat"] if session else ["anat"]):
            sessions.setdefault(session, []).append(root / path)
    return subjects


def _index_subjects(
    place: str, dataset: str, subjects: Mapping[str, AnatFiles], is_there: Callable[[Path], bool]
) -> tuple[list[ScanSession], list[Exclusion]]:
    sessions: list[ScanSession] = []
    exclusions: list[Exclusion] = []
    for subject, files in subjects.items():
        found, left_out = _index_subject(dataset, subject, files, is_there)
        sessions += found
        exclusions += left_out
    if not sessions:
        reasons = Counter(exclusion.reason for exclusion in exclusions).most_common(3)
        seen = "; ".join(f"{reason} ({count} times)" for reason, count in reasons)
        raise ValueError(
            f"{place}: no usable T1w or T2w image among {len(subjects)} subjects. Found: {seen}. "
            "Expected sub-*/[ses-*/]anat/*_T1w.nii[.gz] or *_T2w.nii[.gz]."
        )
    return sessions, exclusions


def _index_subject(
    dataset: str, subject: str, files: AnatFiles, is_there: Callable[[Path], bool]
) -> tuple[list[ScanSession], list[Exclusion]]:
    sessions: list[ScanSession] = []
    exclusions: list[Exclusion] = []
    for session in sorted(files, key=lambda name: natural_key(name or "")):
        chosen, reasons = _choose_images(files[session], subject, session, is_there)
        exclusions += [
            Exclusion(
                dataset, f"{dataset}_{subject}", session or "", as_text(name), as_text(reason)
            )
            for name, reason in reasons.items()
        ]
        if any(chosen.values()):
            sessions.append(ScanSession(dataset, subject, session, chosen["T1w"], chosen["T2w"]))
    if not sessions and not exclusions:
        reason = "no NIfTI image in an anat folder"
        exclusions.append(Exclusion(dataset, f"{dataset}_{subject}", "", "", reason))
    return sessions, exclusions


def _choose_images(
    paths: Sequence[Path], subject: str, session: str | None, is_there: Callable[[Path], bool]
) -> tuple[dict[str, Path | None], dict[str, str]]:
    """The T1w and T2w of a session, and by name why the other images are left out."""
    candidates: dict[str, list[Path]] = {contrast: [] for contrast in CONTRASTS}
    reasons: dict[str, str] = {}
    for path in _select_nifti(paths):
        reason = explain_rejection(path.name, subject, session)
        if not reason and not is_there(path):
            reason = NOT_A_FILE
        if reason:
            reasons[path.name] = reason
        else:
            candidates[read_contrast(path.name)].append(path)
    chosen: dict[str, Path | None] = {}
    for contrast, found in candidates.items():
        ranked = sorted(found, key=lambda path: rank_candidate(path.name))
        chosen[contrast] = ranked[0] if ranked else None
        for other in ranked[1:]:
            reasons[other.name] = f"another {contrast} of this session is used: {ranked[0].name}"
    return chosen, reasons


def _select_nifti(paths: Iterable[Path]) -> list[Path]:
    """NIfTI files in natural order, hidden ones (`._sub-01_T1w.nii.gz` of macOS) left aside."""
    images = (path for path in paths if path.name.endswith(NIFTI_EXTENSIONS))
    shown = (path for path in images if not path.name.startswith("."))
    return sorted(shown, key=lambda path: natural_key(path.name))
