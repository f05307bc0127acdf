"""Inference on volumes: what to read, which generator, slice by slice, and what to write."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor

from scripts.nifti import SUFFIXES, save_volume_like

logger = logging.getLogger(__name__)

MODEL_OF_DIRECTION = {"t1w_to_t2w": "model.pt", "t2w_to_t1w": "model_t2w_to_t1w.pt"}
SOURCE_OF_DIRECTION = {"t1w_to_t2w": "T1w", "t2w_to_t1w": "T2w"}


def check_direction(direction: str) -> str:
    """Return a known direction; ValueError for any other."""
    if direction not in MODEL_OF_DIRECTION:
        raise ValueError(f"direction {direction!r}. Expected one of {list(MODEL_OF_DIRECTION)}.")
    return direction


def select_model(models_dir: str, direction: str) -> str:
    """Path of the generator's weights for a direction.

    Raises:
        FileNotFoundError: the folder holds no such model.
    """
    path = Path(models_dir) / MODEL_OF_DIRECTION[check_direction(direction)]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name}: no such model in {models_dir}. Train one first, and name the folder "
            "that training wrote with --models_dir, or a file with --checkpoint."
        )
    return str(path)


def list_volumes(source: str, direction: str) -> list[dict[str, str]]:
    """NIfTI files to translate, as MONAI's data list.

    Args:
        source: a NIfTI file; a BIDS dataset, of which every raw ``*_T1w`` (or ``*_T2w``) image
            below an ``anat`` folder is taken; or a folder of NIfTI files.
        direction: decides which contrast a BIDS dataset is searched for.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: nothing in it that fits.
    """
    contrast = SOURCE_OF_DIRECTION[check_direction(direction)]
    root = Path(source)
    if not root.exists():
        raise FileNotFoundError(f"{source}: no such file or folder. Give one with --input.")
    if root.is_file():
        return [{"image": str(root)}]
    is_bids = any(path.is_dir() for path in root.glob("sub-*"))
    pattern = f"sub-*/**/anat/*_{contrast}.nii*" if is_bids else "*.nii*"
    files = sorted(path for path in root.glob(pattern) if path.name.endswith(SUFFIXES))
    if not files:
        raise ValueError(
            f"{root.name}: nothing to translate. Expected a NIfTI file, a folder of them or a BIDS "
            f"dataset with sub-*/[ses-*/]anat/*_{contrast}.nii.gz."
        )
    return [{"image": str(path)} for path in files]


def compute_slice_spacing_mm(volumes: Tensor) -> float:
    """Distance along the last axis of a batch of one volume; 1 for a tensor without an affine."""
    if not isinstance(volumes, MetaTensor):
        return 1.0
    affine = volumes.affine.reshape(-1, 4, 4)[0]
    return float(torch.linalg.vector_norm(affine[:3, 2]))


class NeighbouringSliceInferer(Inferer):
    """Volume in, volume out, through a 2-D generator, with any number of slices per input.

    Args:
        slices: channels of the generator, 1 or 3; of what comes out, the middle one is kept.
        distance_mm: between the slices of one input; the nearest existing ones are taken, edge
            slices are repeated.
        batch_size: slices translated at once.
    """

    def __init__(self, *, slices: int, distance_mm: float, batch_size: int) -> None:
        self.slices = slices
        self.distance_mm = distance_mm
        self.batch_size = batch_size

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Translate (1, 1, height, width, slices) to the same shape."""
        step = max(1, round(self.distance_mm / compute_slice_spacing_mm(inputs)))
        images = torch.moveaxis(inputs[0, 0], -1, 0)
        offsets = torch.arange(self.slices) - self.slices // 2
        rows = torch.arange(len(images))[:, None] + step * offsets[None, :]
        stacks = images[rows.clamp(0, len(images) - 1)]
        middle = self.slices // 2
        parts = [
            network(stack, *args, **kwargs)[:, middle] for stack in stacks.split(self.batch_size)
        ]
        return torch.moveaxis(torch.cat(parts), 0, -1)[None, None]


def format_output_name(input_name: str, direction: str) -> str:
    """Name of a synthetic volume, as BIDS derivatives are named.

    ``sub-01_T1w.nii.gz`` becomes ``sub-01_space-T1w_desc-synthetic_T2w.nii.gz``.
    """
    source = SOURCE_OF_DIRECTION[check_direction(direction)]
    target = "T2w" if source == "T1w" else "T1w"
    stem = input_name.removesuffix(".gz").removesuffix(".nii").removesuffix(f"_{source}")
    return f"{stem}_space-{source}_desc-synthetic_{target}.nii.gz"


class SaveSyntheticd(MapTransform):
    """Write synthetic volumes on their input's own grid, with a side-car that says what they are.

    Args:
        keys: MetaTensors (1, x, y, z) in [0, 1] on the axes of the input's file.
        source_key: the input, whose meta data name its file.
        output_dir: folder to write to.
        direction: of the translation.
        largest_value: what 1.0 is stored as.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: str,
        *,
        output_dir: str,
        direction: str,
        largest_value: int,
    ) -> None:
        super().__init__(keys)
        self.source_key = source_key
        self.output_dir = Path(output_dir)
        self.direction = check_direction(direction)
        self.largest_value = largest_value

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write every key."""
        result = dict(data)
        source = Path(result[self.source_key].meta["filename_or_obj"])
        for key in self.key_iterator(result):
            path = self.output_dir / format_output_name(source.name, self.direction)
            voxels = result[key][0].cpu().numpy() * self.largest_value
            save_volume_like(voxels, source, path, dtype="int16")
            self._save_side_car(path, source)
            logger.info("wrote %s", path)
        return result

    def _save_side_car(self, path: Path, source: Path) -> None:
        side_car = {
            "Description": "Synthetic image made by a neural network. It is not a measurement.",
            "Sources": [source.name],
            "SyntheticDirection": self.direction,
            "IntensityRange": [0, self.largest_value],
        }
        target = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
        target.write_text(json.dumps(side_car, indent=4) + "\n")
