"""Brain masks: by name of a method or from a file, the same for training and for inference."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, label

from scripts import hd_bet
from scripts.brain_quality import EXTRACTED_EMPTY_SHELL, compute_empty_shell
from scripts.nifti import SUFFIXES, load_volume
from scripts.shard_volumes import load_shard_mask

logger = logging.getLogger(__name__)

# Brain-extracted scans hold at least this much background; a head with a noisy background none.
LARGEST_BRAIN_FRACTION = 0.75
# Of a brain scaled to mean 0 and standard deviation 1 about half is well below 0; ringing of a
# resampling leaves under 1 % of small negative values in real scans.
LARGEST_NEGATIVE_PART = 0.25
EXTRACTING = ("deepbet", "hd-bet")  # methods that look for a brain in a head
# Of the largest component: low slices and slabs show temporal lobes and cerebellum apart, while
# an eye or a piece of cord beside a whole brain is a hundredth of it.
SMALLEST_COMPONENT = 0.1


def keep_large_components(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The 6-connected components of a mask that are no specks, their holes filled."""
    labels, count = label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = sizes >= SMALLEST_COMPONENT * sizes.max()
    return np.asarray(binary_fill_holes(kept[labels]), dtype=np.bool_)


def mask_brain_extracted(image: nib.Nifti1Image) -> NDArray[np.bool_]:
    """Mask of a volume whose background is already 0: what is positive, without specks and holes.

    Raises:
        ValueError: almost nothing of the volume is background, so it still shows a whole head;
            or much of the brain is negative.
    """
    voxels = np.asarray(image.dataobj)
    _check_signs(voxels)
    mask = keep_large_components(voxels > 0)
    fraction = float(mask.mean())
    if fraction > LARGEST_BRAIN_FRACTION:
        raise ValueError(
            f"{fraction:.0%} of the volume is above 0, so it is not brain-extracted. Expected a "
            f"background of 0 and a brain of at most {LARGEST_BRAIN_FRACTION:.0%}: use "
            "brain_extraction auto, deepbet, hd-bet or a mask file."
        )
    return mask


def _check_signs(voxels: NDArray[np.floating[Any]]) -> None:
    """Raise ValueError where much of the brain lies well below the background."""
    inside = voxels[voxels != 0]
    if inside.size == 0 or inside.max() <= 0:
        return
    negative = float(np.mean(inside < -0.1 * np.percentile(inside, 99)))
    if negative > LARGEST_NEGATIVE_PART:
        raise ValueError(
            f"{negative:.0%} of the brain is below 0, so it cannot be told from the background. "
            "Give the image before it was normalised, or a mask file."
        )


@lru_cache(maxsize=1)
def load_deepbet() -> Any:
    """The two networks of deepbet (Fisch 2024), loaded once a process; they ship in its wheel."""
    from deepbet import BrainExtraction  # importing it takes a second that most commands can save

    with warnings.catch_warnings():
        # deepbet 1.0.2 loads TorchScript, which torch deprecates.
        warnings.filterwarnings("ignore", message=".*torch.jit.*")
        return BrainExtraction(no_gpu=True)


def extract_with_deepbet(image: nib.Nifti1Image) -> NDArray[np.bool_]:
    """Mask by deepbet: adult brains, T1w very good, T2w good; 4 to 8 s on two CPU cores.

    Raises:
        ValueError: deepbet finds no brain.
    """
    try:
        _, mask, _ = load_deepbet().run(image)
    except (AssertionError, ValueError, RuntimeError) as error:
        raise ValueError(f"deepbet found no brain ({error}). Give a mask file instead.") from error
    return np.asarray(mask.dataobj) > 0


def select_automatically(image: nib.Nifti1Image) -> tuple[NDArray[np.bool_], str]:
    """HD-BET where it is installed with its weights, else deepbet; never a weaker method.

    Where nothing is left around the brain that it finds, the volume is brain-extracted already,
    and its own edge is the better one: the method is ``none`` then.
    """
    method, extract = (
        ("hd-bet", hd_bet.extract_brain)
        if hd_bet.is_available()
        else ("deepbet", extract_with_deepbet)
    )
    mask = extract(image)
    spacing_mm = np.asarray(image.header.get_zooms()[:3])
    shell = compute_empty_shell(np.asarray(image.dataobj), mask, spacing_mm)
    if shell > EXTRACTED_EMPTY_SHELL:
        with contextlib.suppress(ValueError):  # its own edge cannot be told after all
            return mask_brain_extracted(image), "none"
    return mask, method


METHODS: dict[str, Callable[[nib.Nifti1Image], NDArray[np.bool_]]] = {
    "none": mask_brain_extracted,
    "deepbet": extract_with_deepbet,
    "hd-bet": hd_bet.extract_brain,
}


def check_method(method: str) -> str:
    """Return a method of `extract_brain`; ValueError for anything else."""
    if method not in ("auto", *METHODS) and not method.endswith(SUFFIXES):
        raise ValueError(
            f"brain_extraction {method!r}. Expected auto, {', '.join(METHODS)} or a mask file "
            f"that ends in {SUFFIXES}."
        )
    return method


def extract_brain(image: nib.Nifti1Image, method: str) -> tuple[NDArray[np.bool_], str]:
    """Brain mask of one volume, and the method that made it.

    Args:
        image: volume (x, y, z) in RAS+ orientation.
        method: ``auto``, ``hd-bet``, ``deepbet``, ``none`` (the volume is brain-extracted
            already) or the path of a mask file on the grid of the volume's file.

    Raises:
        FileNotFoundError: there is no such mask file.
        ValueError: unknown method, no brain found, or a mask that does not fit.
    """
    if check_method(method) in ("auto", *EXTRACTING) and 1 in image.shape:
        raise ValueError(
            f"a single slice (shape {image.shape}), in which no brain can be looked for. Pass "
            "--brain_extraction none if it shows nothing else, or a mask file."
        )
    if method == "auto":
        mask, used = select_automatically(image)
    elif method in METHODS:
        mask, used = METHODS[method](image), method
    else:
        mask, used = load_mask(method, image), "mask file"
    if not mask.any():
        raise ValueError(f"the brain mask by {used} is empty.")
    return mask, used


def load_mask(path: str | Path, image: nib.Nifti1Image) -> NDArray[np.bool_]:
    """Read a mask that covers the same grid as a volume, in whatever orientation it is stored.

    Raises:
        ValueError: it lies on another grid.
    """
    # load_volume refuses constant volumes, and so an empty mask, by name.
    mask = nib.as_closest_canonical(load_volume(path))
    # A tenth of a millimetre: headers written by different programs agree no better.
    if mask.shape != image.shape or not np.allclose(mask.affine, image.affine, atol=0.1):
        raise ValueError(
            f"{Path(path).name}: the mask lies on another grid than the image (both in RAS+).\n"
            f"Mask:  shape {mask.shape}, affine {np.round(mask.affine, 2).tolist()}\n"
            f"Image: shape {image.shape}, affine {np.round(image.affine, 2).tolist()}"
        )
    return np.asarray(mask.dataobj) > 0.5


def carry_mask(shard: str | Path) -> NDArray[np.bool_]:
    """Read the mask that a slice dataset holds beside its images, in RAS+."""
    return np.asarray(nib.as_closest_canonical(load_shard_mask(Path(shard))).dataobj) > 0


class BrainExtractiond(MapTransform):
    """Add the brain mask of a volume to the data, as MetaTensor (1, x, y, z) of 0 and 1.

    Args:
        keys: the one volume, a MetaTensor (1, x, y, z) in RAS+.
        mask_key: where the mask goes; ``meta["brain_extraction"]`` of it says how it was made.
        method: see ``extract_brain``.
    """

    def __init__(self, keys: KeysCollection, mask_key: str, *, method: str) -> None:
        super().__init__(keys)
        if len(self.keys) != 1:
            raise ValueError(f"a mask is made from one volume. Found keys {self.keys}.")
        self.mask_key = mask_key
        self.method = check_method(str(method))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Extract the brain; errors name the file."""
        result = dict(data)
        volume = result[self.keys[0]]
        name = Path(str(volume.meta.get("filename_or_obj", "volume"))).name
        image = nib.Nifti1Image(volume[0].numpy(), volume.affine.numpy())
        try:
            if volume.meta.get("is_prepared", False):
                mask, used = carry_mask(str(volume.meta["filename_or_obj"])), "slice dataset"
            else:
                mask, used = extract_brain(image, self.method)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        logger.debug("%s: brain mask by %s", name, used)
        result[self.mask_key] = self._like(volume, mask, used)
        return result

    @staticmethod
    def _like(volume: MetaTensor, mask: NDArray[np.bool_], used: str) -> MetaTensor:
        tensor = volume.clone()
        tensor[0] = volume.new_tensor(mask.astype(np.float32))
        tensor.meta["brain_extraction"] = used
        return tensor
