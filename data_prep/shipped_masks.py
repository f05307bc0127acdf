"""Brain masks that a dataset ships as derivatives of its T1w images."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
from bids2table import parse_bids_entities

from data_prep.bids import ScanSession
from data_prep.damaged_files import UNREADABLE
from data_prep.session_records import SessionTask
from data_prep.stages import Stages, load_stages

# The method that takes nothing else; `auto` takes such a mask first, where it fits.
SHIPPED = "derivatives"
ENDINGS = (".nii", ".nii.gz")
MASK_NAME = "_desc-brain_mask.nii"

logger = logging.getLogger(__name__)


def list_shipped_masks(folder: Path) -> list[str]:
    """Paths of the masks below a dataset's ``derivatives``, relative to the dataset."""
    found = folder.glob(f"derivatives/**/anat/*{MASK_NAME}*")
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())


def list_mask_paths(paths: Iterable[str]) -> list[str]:
    """The same among the paths of a listing."""
    return [path for path in paths if path.startswith("derivatives/") and MASK_NAME in path]


def find_shipped_mask(paths: Iterable[str], session: ScanSession) -> str | None:
    """The mask of a session's T1w: the same entities, no ``space-``; the first by name.

    Args:
        paths: relative paths of a dataset's files.
        session: whose mask is wanted.
    """
    if session.t1w is None:
        return None
    wanted = parse_bids_entities(session.t1w.name)
    place = tuple(filter(None, (session.subject, session.session, "anat")))
    return next((path for path in sorted(paths) if _is_mask_of(path, wanted, place)), None)


def _is_mask_of(path: str, wanted: dict[str, str], place: tuple[str, ...]) -> bool:
    parts = PurePosixPath(path)
    if parts.parts[0] != "derivatives" or parts.parent.parts[-len(place) :] != place:
        return False
    if not parts.name.endswith(ENDINGS):
        return False
    entities = parse_bids_entities(parts.name)
    if (entities.pop("desc", None), entities.pop("suffix", None)) != ("brain", "mask"):
        return False
    kept = {key: value for key, value in wanted.items() if key not in ("suffix", "ext")}
    entities.pop("ext", None)
    return entities == kept


def uses_masks(bundle: Path, method: str | None) -> bool:
    """Whether a brain extraction looks at the masks that a dataset ships."""
    return method == SHIPPED or load_stages(bundle, method).brain_extraction == "auto"


def describe_method(task: SessionTask) -> str:
    """What the brain extraction that was asked for means here and now: a program, its weights."""
    if task.brain_extraction == SHIPPED:
        return SHIPPED
    return load_stages(task.bundle, task.brain_extraction).resolve_method()


def select_stages(task: SessionTask) -> Stages:
    """The stages with the method asked for, or with the mask that the dataset ships.

    ``derivatives`` takes nothing but such a mask, ``auto`` takes it where it fits the T1w's grid.

    Raises:
        ValueError: only shipped masks were asked for, and there is none.
    """
    if task.brain_extraction == SHIPPED and task.shipped_mask is None:
        raise ValueError(
            "no brain mask among the dataset's derivatives. Expected one named like "
            "derivatives/*/sub-01/anat/sub-01_desc-brain_mask.nii.gz; or use "
            "brain_extraction auto, deepbet or hd-bet."
        )
    if task.brain_extraction == SHIPPED:
        return load_stages(task.bundle, str(task.shipped_mask))
    stages = load_stages(task.bundle, task.brain_extraction)
    if stages.brain_extraction == "auto" and _fits(task):
        return load_stages(task.bundle, str(task.shipped_mask))
    return stages


def _fits(task: SessionTask) -> bool:
    """Whether the shipped mask lies on the grid of the T1w, whatever its orientation.

    One that cannot be read does not. Of a T1w that cannot, the step that reads it says so.
    """
    mask, t1w = task.shipped_mask, task.session.t1w
    if mask is None or t1w is None or not (mask.is_file() and t1w.is_file()):
        return False
    try:
        first, second = (nib.as_closest_canonical(nib.load(path)) for path in (mask, t1w))
        np.asanyarray(first.dataobj)  # a header may be whole where the voxels are not
    except UNREADABLE as error:
        if getattr(error, "errno", None) is not None:
            raise  # no fault of the file: the disk, the network; it may go better later
        logger.debug("%s: not compared with %s (%s)", mask.name, t1w.name, error)
        return False
    return bool(first.shape == second.shape and np.allclose(first.affine, second.affine, atol=0.1))
