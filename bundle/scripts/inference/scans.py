"""What there is to translate: files, folders, patterns, BIDS datasets, slice datasets, DICOM."""

from __future__ import annotations

import glob
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.directions import SOURCE_OF_DIRECTION, check_direction
from scripts.inference.output_names import format_output_stem, is_our_output, remove_ending
from scripts.nifti import SUFFIXES

logger = logging.getLogger(__name__)

# Suffixes of BIDS that say that an image in a plain folder is no scan of the wanted contrast.
KNOWN_SUFFIXES = frozenset(
    ["T1w", "T2w", "FLAIR", "PDw", "PDT2", "T2star", "T2starw", "T1map", "T2map", "angio",
     "inplaneT1", "inplaneT2", "bold", "sbref", "dwi", "epi", "mask", "dseg", "probseg", "SWI",
     "UNIT1", "MP2RAGE", "MPM", "MTS", "MTR", "R1map", "R2map", "PDmap", "defacemask", "asl",
     "magnitude", "magnitude1", "magnitude2", "phase", "phase1", "phase2", "phasediff",
     "fieldmap", "pet", "CT", "T1rho", "VFA", "IRT1", "MEGRE", "MESE"]
)  # fmt: skip
WAY_OUT = (
    "Expected a NIfTI file, a folder of them, a pattern in quotes, a BIDS dataset with "
    "sub-*/[ses-*/]anat/*_{contrast}.nii.gz, a slice dataset of data_prep, or a folder with one "
    "DICOM series."
)

Scan = dict[str, str]


def list_scans(source: str, direction: str, participant_label: str | None = None) -> list[Scan]:
    """List the scans to translate, as MONAI's data list.

    Args:
        source: a NIfTI file; a folder of them; a pattern with ``*``; a BIDS dataset, of which
            every raw ``*_T1w`` (or ``*_T2w``) below an ``anat`` folder is taken; a slice dataset;
            a folder with a DICOM series, or with such folders.
        direction: decides which contrast is searched for.
        participant_label: subjects of a BIDS dataset, with commas, with or without ``sub-``;
            None takes all.

    Returns:
        Rows with ``image``, the path, and ``source``, the path below the input folder that names
        the outputs.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: nothing in it that fits, or two inputs would have outputs of one name.
    """
    contrast = SOURCE_OF_DIRECTION[check_direction(direction)]
    folder = Path(source)
    if participant_label is not None and not _is_bids(folder):
        raise ValueError(f"--participant_label needs a BIDS dataset; {folder.name} holds no sub-*.")
    root, paths = _find_scans(source, contrast, participant_label)
    if not paths:
        name = root.name or "the current folder, as no --input names another"
        raise ValueError(f"{name}: nothing to translate. {WAY_OUT.format(contrast=contrast)}")
    return _name_scans(paths, root, direction)


def _find_scans(
    source: str, contrast: str, participant_label: str | None
) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the scans of whatever a source is."""
    folder = Path(source)
    if glob.has_magic(source) and not folder.exists():
        root = _find_fixed_part(source)
        return root, _find_images(root.glob(str(folder.relative_to(root))))
    if not folder.exists():
        raise FileNotFoundError(f"{source}: no such file or folder. Give one with --input.")
    if folder.is_file():
        return folder.parent, [folder]
    if (folder / "dataset.json").is_file() and (folder / "shards").is_dir():
        return folder / "shards", _list_shards(folder, contrast)
    if _is_bids(folder):
        return folder, _list_bids(folder, contrast, participant_label)
    return folder, _list_folder(folder, contrast)


def _is_bids(root: Path) -> bool:
    return root.is_dir() and any(path.is_dir() for path in root.glob("sub-*"))


def _find_fixed_part(pattern: str) -> Path:
    """Folder that a pattern starts from."""
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _find_images(paths: Iterable[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.name.endswith(SUFFIXES) and not path.name.startswith(".")
        and not is_our_output(path.name) and not _is_folder(path)
    )  # fmt: skip


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder; a broken link, or what may not be looked at, is a failed scan."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _list_bids(root: Path, contrast: str, participant_label: str | None) -> list[Path]:
    found = _find_images(root.glob(f"sub-*/**/anat/*_{contrast}.nii*"))
    if participant_label is None:
        return found
    # The command line makes a number of 01 where no comma stands behind it.
    wanted = [str(label).strip().removeprefix("sub-") for label in _split(participant_label)]
    present = {path.relative_to(root).parts[0].removeprefix("sub-") for path in found}
    if absent := sorted(set(wanted) - present):
        raise ValueError(
            f"{root.name}: no {contrast} of sub-{', sub-'.join(absent)}. Found "
            f"{len(present)} subjects such as sub-{min(present, default='?')}."
        )
    return [path for path in found if path.relative_to(root).parts[0][4:] in wanted]


def _split(labels: str | Iterable[str]) -> list[str]:
    if isinstance(labels, (list, tuple)):
        return [str(label) for label in labels]
    return str(labels).split(",")


def _list_shards(root: Path, contrast: str) -> list[Path]:
    """Volumes of a slice dataset on their own grids."""
    paths = []
    for side_car in sorted((root / "shards").rglob("*.json")):
        facts = json.loads(side_car.read_text(encoding="utf-8"))
        if facts["contrast"] == contrast and facts["space"] == "native":
            paths.append(side_car.with_suffix(".npy"))
    return paths


def _list_folder(root: Path, contrast: str) -> list[Path]:
    """NIfTI files anywhere below a folder, or else folders of DICOM series."""
    paths = list(root.rglob("*"))
    images = _find_images(paths)
    wanted = [
        path
        for path in images
        if not _is_of_another_kind(path, contrast)
        and "derivatives" not in path.relative_to(root).parts
    ]
    if left_out := len(images) - len(wanted):
        logger.warning(
            "%s: %d images are named as no %s, or derivatives; left out",
            root.name, left_out, contrast,
        )  # fmt: skip
    if not images:
        return sorted(
            folder for folder in [root, *filter(_is_folder, paths)] if holds_dicom(folder)
        )
    if dicom := [path for path in paths if path.suffix.lower() == ".dcm"]:
        logger.warning("%s: NIfTI files are taken, %d DICOM files are left out. Translate their "
                       "folder by itself.", root.name, len(dicom))  # fmt: skip
    return wanted


def _is_of_another_kind(path: Path, contrast: str) -> bool:
    suffix = remove_ending(path.name).rpartition("_")[2]
    return suffix in KNOWN_SUFFIXES - {contrast}


def holds_dicom(folder: Path) -> bool:
    """Whether a folder directly holds a DICOM file; one that does is taken for a series."""
    try:
        return any(_is_dicom(path) for path in sorted(folder.iterdir()))
    except OSError as error:
        logger.warning("%s: cannot be read (%s), so %s is no DICOM series",
                       Path(str(error.filename)).name, error.strerror, folder.name)  # fmt: skip
        return False


def _is_dicom(path: Path) -> bool:
    if path.name.startswith(".") or path.name == "DICOMDIR" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _name_scans(paths: list[Path], root: Path, direction: str) -> list[Scan]:
    scans = []
    first_of: dict[str, str] = {}
    for path in paths:
        name = path.name if path == root else path.relative_to(root).as_posix()
        source = name.encode("utf-8", "backslashreplace").decode()  # undecodable bytes, readable
        output = str(format_output_stem(source, direction, description="synthetic"))
        other = first_of.setdefault(output, source)
        if other != source:
            raise ValueError(
                f"{other} and {source}: their outputs would have one name. Rename one, or "
                "translate them into two output folders."
            )
        if "_ce-" in path.name:
            logger.warning("%s: a contrast agent (ce-), which the models do not know", source)
        scans.append({"image": str(path), "source": source})
    return scans


def check_mask_file(method: str, data: Sequence[Scan]) -> None:
    """Fail early when a mask file is not there, or would be used for several scans.

    Args:
        method: of brain extraction.
        data: of `list_scans`.
    """
    if not str(method).endswith(SUFFIXES):
        return
    if not Path(method).is_file():
        raise FileNotFoundError(f"{Path(method).name}: there is no such mask file.")
    if len(data) > 1:
        raise ValueError(
            f"{Path(method).name}: one mask file for {len(data)} scans. Name one scan with "
            "--input, or use auto, deepbet, hd-bet or none."
        )
