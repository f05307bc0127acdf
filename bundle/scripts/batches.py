"""From a batch of the loader to what the networks see: on the device, augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scripts.augmentation import SliceAugmentation
from scripts.cyclegan import Images
from scripts.device_slices import DeviceSlices, StoredSlices
from scripts.sampling import derive_seeds


@dataclass(frozen=True, kw_only=True)
class PrepareBatch:
    """Moves a batch of `UnpairedSlices` to the device and augments it there.

    Attributes:
        augmentation: None for none.
        slices: on the device, by position; None where the batch holds the images.
        paired: whether both images of a sample show one slice and share their geometry.
        seed: of the augmentation, with the sample's number.
    """

    augmentation: SliceAugmentation | None
    slices: DeviceSlices | None
    paired: bool
    seed: int

    def __call__(
        self, batch: dict[str, Any], device: torch.device, non_blocking: bool = True
    ) -> tuple[Images, Images]:
        """Return images and masks, `t1w` and `t2w`."""
        images, masks = {}, {}
        for name in ("t1w", "t2w"):
            image, mask = self._read(batch, name, device, non_blocking)
            if self.augmentation is not None:
                geometry = "pair" if self.paired else name
                seeds = derive_seeds(self.seed, batch["sample"].tolist(), stream=geometry)
                image, mask = self.augmentation(image, mask, seeds=seeds, stream=name)
            images[name], masks[name] = image, mask
        return images, masks

    def _read(
        self, batch: dict[str, Any], name: str, device: torch.device, non_blocking: bool
    ) -> tuple[Tensor, Tensor]:
        if self.slices is not None:
            stored: StoredSlices = getattr(self.slices, name)
            return stored.read(batch[f"{name}_position"])
        image, mask = (
            batch[key].to(device, non_blocking=non_blocking) for key in (name, f"{name}_mask")
        )
        return image, mask


def split_batch(images: Images, parts: int) -> list[Images]:
    """Split each of some batches of images into `parts` of one size.

    Raises:
        ValueError: the batch cannot be split so.
    """
    size = len(next(iter(images.values())))
    if parts < 1 or size % parts:
        raise ValueError(
            f"accumulation is {parts}, but a process has {size} images of each contrast in a "
            "batch; expected a number by which that can be divided (--accumulation, --batch_size)."
        )
    split = {name: image.chunk(parts) for name, image in images.items()}
    return [{name: split[name][part] for name in split} for part in range(parts)]


def join_parts(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join what was computed of the parts of a batch: images in a row, losses by their means."""
    if len(parts) == 1:
        return parts[0]
    joined = {name: [part[name] for part in parts] for name in parts[0]}
    return {
        name: torch.cat(each) if each[0].ndim else torch.stack(each).mean()
        for name, each in joined.items()
    }
