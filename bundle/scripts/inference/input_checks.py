"""Simple checks that an input is what the networks were trained on, with stated limits.

Each warns, or refuses where the input is certainly another kind of image. What a check was tried
on is said in the model card.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from scripts.brain_extraction import EXTRACTING
from scripts.brain_quality import EXTRACTED_EMPTY_SHELL, MaskQuality, compute_empty_shell
from scripts.config_options import is_on

logger = logging.getLogger(__name__)

WAY_OUT = "If it is right all the same, pass --refuse_unfit false."


class InputRefusedError(ValueError):
    """The input is certainly not what the networks were trained on."""


class InputCheck(MapTransform):
    """A check of one volume that refuses, or only warns.

    Args:
        keys: the one key that is looked at, a MetaTensor (1, x, y, z).
        refuse: whether a certain fault is an error; else a warning.
    """

    def __init__(self, keys: KeysCollection, *, refuse: bool | str) -> None:
        super().__init__(keys)
        self.refuse = is_on(refuse)

    def object_to(self, volume: MetaTensor, fault: str) -> None:
        """Refuse, or warn, by the name of the file."""
        if self.refuse:
            raise InputRefusedError(f"{fault} {WAY_OUT}")
        self.warn(volume, fault)

    @staticmethod
    def warn(volume: MetaTensor, fault: str) -> None:
        """Warn by the name of the file."""
        logger.warning("%s: %s", Path(str(volume.meta["filename_or_obj"])).name, fault)


class CheckHounsfieldd(InputCheck):
    """Find computed tomography, whose air is at -1000 HU, where MRI holds no such values.

    Args:
        keys: the volume as read, in the file's own units.
        refuse: see `InputCheck`.
        below: value that air, lung and nothing of MRI lies under.
        fraction: part of the voxels that must lie there.
    """

    def __init__(
        self, keys: KeysCollection, *, refuse: bool | str, below: float, fraction: float
    ) -> None:
        super().__init__(keys, refuse=refuse)
        self.below = below
        self.fraction = fraction

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pass the data unchanged."""
        for key in self.key_iterator(dict(data)):
            found = float((data[key] < self.below).float().mean())
            if found > self.fraction:
                self.object_to(
                    data[key],
                    f"{found:.0%} of the voxels lie below {self.below:g}: this looks like CT in "
                    "Hounsfield units, not like MRI.",
                )
        return dict(data)


class CheckBrainMaskd(InputCheck):
    """Find whole heads taken for brains, infants and partial fields of view by the brain mask.

    A volume of one slice is not checked.

    Args:
        keys: the mask at the input's own resolution; its meta data name the method.
        refuse: see `InputCheck`.
        check_brain_mask: mask and affine to what is wrong with it.
        largest_cm3: above it a mask is no brain, but a whole head or a failed extraction.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        refuse: bool | str,
        check_brain_mask: Callable[[Any, Any], MaskQuality],
        largest_cm3: float,
    ) -> None:
        super().__init__(keys, refuse=refuse)
        self.check_brain_mask = check_brain_mask
        self.largest_cm3 = largest_cm3

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Keep the volume in cm3 in the mask's ``meta["brain_cm3"]``."""
        result = dict(data)
        for key in self.key_iterator(result):
            mask = result[key]
            quality = self.check_brain_mask(mask[0].numpy() > 0, mask.affine.numpy())
            mask.meta["brain_cm3"] = quality.volume_cm3
            if 1 not in mask.shape[1:] and quality.failures:
                self._judge(mask, quality)
        return result

    def _judge(self, mask: MetaTensor, quality: MaskQuality) -> None:
        if quality.volume_cm3 > self.largest_cm3:
            method = mask.meta["brain_extraction"]
            self.object_to(
                mask,
                f"the brain mask by {method} holds {quality.volume_cm3:.0f} cm3, more than any "
                "brain. With brain_extraction none this looks like a whole head: use auto. "
                "Otherwise the extraction failed: give a mask file.",
            )
        else:
            self.warn(
                mask,
                f"brain mask unlike that of a whole adult brain ({'; '.join(quality.failures)}): "
                "a partial field of view, an infant or a failed extraction?",
            )


class CheckExtractedd(InputCheck):
    """Warn of a brain that was extracted already and is extracted anew, which makes it worse.

    By a method that was asked for by name: ``auto`` finds it out by itself.

    Args:
        keys: the volume in the file's own units.
        mask_key: the brain on the same grid; its meta data name the method.
    """

    def __init__(self, keys: KeysCollection, mask_key: str) -> None:
        super().__init__(keys, refuse=False)
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pass the data unchanged."""
        for key in self.key_iterator(dict(data)):
            if fault := self.find_fault(data[key], data[self.mask_key]):
                self.warn(
                    data[key],
                    f"{fault} Pass --brain_extraction auto or none, with --overwrite true.",
                )
        return dict(data)

    def find_fault(self, volume: MetaTensor, mask: MetaTensor) -> str:
        """What is wrong, in a sentence; "" where nothing is.

        Args:
            volume: (1, x, y, z) in the file's own units.
            mask: brain on the same grid; its meta data name the method.
        """
        method = mask.meta["brain_extraction"]
        if method not in EXTRACTING or 1 in mask.shape[1:]:
            return ""
        spacing_mm = volume.pixdim.numpy()
        empty = compute_empty_shell(volume[0].numpy(), mask[0].numpy() > 0, spacing_mm)
        if empty <= EXTRACTED_EMPTY_SHELL:
            return ""
        return (
            f"{empty:.0%} of what surrounds the brain is 0: the input seems to be brain-extracted, "
            f"and {method} has masked it anew."
        )


class CheckContrastd(InputCheck):
    """Find the wrong contrast by the median of the brain between its percentiles.

    T1w brains are bright with dark fluid, T2w brains dark with bright fluid: in real adults the
    median of [0, 1] lies at .63 to .80 in T1w and at .28 to .38 in T2w (40 and 14 volumes).

    Args:
        keys: the volume as the network sees it, in [-1, 1].
        mask_key: the brain there.
        refuse: see `InputCheck`.
        contrast: that it should be.
        median_ranges: least and most median by contrast.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str,
        *,
        refuse: bool | str,
        contrast: str,
        median_ranges: Mapping[str, Sequence[float]],
    ) -> None:
        super().__init__(keys, refuse=refuse)
        self.mask_key = mask_key
        self.wanted = contrast
        (self.other,) = set(median_ranges) - {contrast}
        self.median_ranges = median_ranges

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pass the data unchanged."""
        for key in self.key_iterator(dict(data)):
            brain = data[key][data[self.mask_key] > 0]
            median = (float(brain.as_tensor().median()) + 1) / 2
            if not self._fits(self.wanted, median):
                self._judge(data[key], median)
        return dict(data)

    def _fits(self, contrast: str, median: float) -> bool:
        least, most = self.median_ranges[contrast]
        return least <= median <= most

    def _judge(self, volume: MetaTensor, median: float) -> None:
        least, most = self.median_ranges[self.wanted]
        found = (
            f"the median of the brain is {median:.2f} of its intensity range, in {self.wanted} "
            f"it is {least:.2f} to {most:.2f}"
        )
        # A single slice may hold little but fluid.
        if self._fits(self.other, median) and 1 not in volume.shape[1:]:
            self.object_to(
                volume,
                f"{found}: this looks like {self.other}. For the other way pass --direction "
                f"{self.other.lower()}_to_{self.wanted.lower()}.",
            )
        else:
            self.warn(volume, f"{found}: another contrast, contrast agent, disease or age?")
