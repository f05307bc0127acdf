"""The training slices kept on the device, so that no step waits for a disk or a copy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scripts.datasets import open_mask, open_shard
from scripts.shard_volumes import LARGEST_UINT16
from scripts.slice_tables import SliceImage
from scripts.training_slices import TrainingSlices

logger = logging.getLogger(__name__)

PLACES = ("auto", "disk", "device")
SHARE_OF_MEMORY = 0.5  # of what is free on a GPU; the rest is for the networks


@dataclass(frozen=True)
class StoredSlices:
    """Slices of one contrast.

    Attributes:
        values: (slices, height, width), the 16 bits of the shards, which torch takes for signed.
        masks: (slices, height, width), boolean.
        rows: (images, channel), the slices of which each image consists.
        largest: the value that is the brightest, as a number on the device: there a division by a
            Python number would be a product with its reciprocal, another last bit.
    """

    values: Tensor
    masks: Tensor
    rows: Tensor
    largest: Tensor

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return images in [-1, 1] and their masks, both (batch, channel, height, width)."""
        rows = self.rows[positions.to(self.rows.device, non_blocking=True)]
        stored = self.values[rows].float()
        unsigned = torch.where(stored < 0, stored + 2**16, stored)
        return unsigned / self.largest * 2 - 1, self.masks[rows]


DeviceSlices = dict[str, StoredSlices]  # `t1w` and `t2w`, and `pair_t1w` and `pair_t2w`


def load_device_slices(
    data: TrainingSlices, *, device: torch.device | str, place: str
) -> DeviceSlices | None:
    """Load all slices to the device; None where they are to be read from the disk at every step.

    Args:
        data: the slices.
        device: where the networks are.
        place: "device", "disk", or "auto": a GPU when they take less than half of what is free
            there, else the disk, which the system keeps in memory as far as it can.
    """
    if place not in PLACES:
        raise ValueError(f"slices_on is {place!r}; expected one of {PLACES}.")
    device = torch.device(device)
    if place == "disk" or (place == "auto" and not _fits(data, device)):
        return None
    slices = {name: _load(images, device) for name, images in data.by_name().items()}
    logger.info("Loaded %d T1w and %d T2w slices to %s.", len(data.t1w), len(data.t2w), device)
    return slices


def _fits(data: TrainingSlices, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    height, width = open_shard(data.t1w[0].shard).shape[1:]
    count = sum(
        len(rows) for images in data.by_name().values() for rows in _list_rows(images).values()
    )
    needed = 3 * count * height * width  # two bytes of values, one of mask
    return needed < SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]


def _list_rows(images: Sequence[SliceImage]) -> dict[str, list[int]]:
    """Return the rows of each shard that any image needs, in order."""
    needed: dict[str, set[int]] = {}
    for image in images:
        needed.setdefault(image.shard, set()).update(image.rows)
    return {shard: sorted(rows) for shard, rows in needed.items()}


def _load(images: Sequence[SliceImage], device: torch.device) -> StoredSlices:
    values, masks = [], []
    places: dict[tuple[str, int], int] = {}
    for shard, rows in _list_rows(images).items():
        places |= {(shard, row): len(places) + number for number, row in enumerate(rows)}
        values.append(open_shard(shard)[rows].view(np.int16))
        masks.append(open_mask(shard)[rows] > 0)
    rows_of_images = [[places[image.shard, row] for row in image.rows] for image in images]
    arrays = (np.concatenate(values), np.concatenate(masks), np.array(rows_of_images))
    stored, brains, rows_on_device = (torch.from_numpy(array).to(device) for array in arrays)
    largest = torch.tensor(float(LARGEST_UINT16), device=device)
    return StoredSlices(stored, brains, rows_on_device, largest)
