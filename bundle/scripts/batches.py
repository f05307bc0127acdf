"""From a batch of the loader to what the networks see: on the device, augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.augmentation import SliceAugmentation
from scripts.cyclegan import Images
from scripts.device_slices import DeviceSlices, StoredSlices
from scripts.differentiable_augmentation import DRAWS
from scripts.sampling import derive_seeds


@dataclass(frozen=True, kw_only=True)
class PrepareBatch:
    """Moves a batch of `UnpairedSlices` to the device and augments it there.

    Attributes:
        augmentation: None for none.
        slices: on the device, by position; None where the batch holds the images.
        paired: whether both images of a sample show one slice and share their geometry.
        pairs: whether registered pairs are drawn beside the sample.
        judges_augmented: whether numbers are drawn for a differentiable augmentation.
        seed: of the augmentation, with the sample's number.
    """

    augmentation: SliceAugmentation | None
    slices: DeviceSlices | None
    paired: bool
    pairs: bool
    judges_augmented: bool
    seed: int

    @property
    def has_pairs(self) -> bool:
        """Whether there is anything to compare a translation with."""
        return self.paired or self.pairs

    def __call__(
        self, batch: dict[str, Any], device: torch.device, non_blocking: bool = True
    ) -> tuple[Images, Images]:
        """Return images and masks, `t1w` and `t2w`, and `pair_t1w` and `pair_t2w` where drawn.

        `draws_t1w` and `draws_t2w` among the images are random numbers (batch, use, DRAWS) for
        what the discriminators see: a real image, a fake, and a fake that is to fool them.
        """
        images, masks = {}, {}
        samples = batch["sample"].tolist()
        for name in ("t1w", "t2w", *(("pair_t1w", "pair_t2w") if self.pairs else ())):
            image, mask = self._read(batch, name, device, non_blocking)
            if self.augmentation is not None:
                seeds = derive_seeds(self.seed, samples, stream=self._name_geometry(name))
                image, mask = self.augmentation(image, mask, seeds=seeds, stream=name)
            images[name], masks[name] = image, mask
        if self.judges_augmented:
            for name in ("t1w", "t2w"):
                draws = self._draw(samples, f"judged_{name}").to(device, non_blocking=non_blocking)
                images[f"draws_{name}"] = draws
        return images, masks

    def _name_geometry(self, name: str) -> str:
        """The stream of an image's geometry, which the two images of a pair share."""
        if name.startswith("pair_"):
            return "few_pairs"
        return "pair" if self.paired else name

    def _draw(self, samples: list[int], stream: str) -> Tensor:
        seeds = derive_seeds(self.seed, samples, stream=stream)
        drawn = [np.random.default_rng(seed).random((3, DRAWS), np.float32) for seed in seeds]
        return torch.from_numpy(np.stack(drawn))

    def _read(
        self, batch: dict[str, Any], name: str, device: torch.device, non_blocking: bool
    ) -> tuple[Tensor, Tensor]:
        if self.slices is not None:
            stored: StoredSlices = self.slices[name]
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
