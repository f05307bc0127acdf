"""From a batch of the loader to what the networks see: on the device, augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from scripts.augmentation import SliceAugmentation
from scripts.cyclegan import Images
from scripts.sampling import derive_seeds


@dataclass(frozen=True, kw_only=True)
class PrepareBatch:
    """Moves a batch of `UnpairedSlices` to the device and augments it there.

    Attributes:
        augmentation: None for none.
        paired: whether both images of a sample show one slice and share their geometry.
        seed: of the augmentation, with the sample's number.
    """

    augmentation: SliceAugmentation | None
    paired: bool
    seed: int

    def __call__(
        self, batch: dict[str, Any], device: torch.device, non_blocking: bool = True
    ) -> tuple[Images, Images]:
        """Return images and masks, `t1w` and `t2w`."""
        images, masks = {}, {}
        for name in ("t1w", "t2w"):
            image = batch[name].to(device, non_blocking=non_blocking)
            mask = batch[f"{name}_mask"].to(device, non_blocking=non_blocking)
            if self.augmentation is not None:
                geometry = "pair" if self.paired else name
                seeds = derive_seeds(self.seed, batch["sample"].tolist(), stream=geometry)
                image, mask = self.augmentation(image, mask, seeds=seeds, stream=name)
            images[name], masks[name] = image, mask
        return images, masks
