"""The bundle inside another program: volumes come and go in memory, no file is read or written.

`configs/deploy.json` makes of this what MONAI Deploy's MonaiBundleInferenceOperator expects: one
flat sequence of dictionary transforms, whose input has no channel and whose output is stored in
eight bits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.inferers import Inferer
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, MapTransform
from torch import Tensor

FILE_TRANSFORMS = ("Load", "Save")  # how the names of those that touch files begin


def read_from_memory(*, keys: KeysCollection, transform: Compose) -> Compose:
    """Return preprocessing that begins with volumes (x, y, z) instead of names of files."""
    first = [
        EnsureChannelFirstd(keys, channel_dim="no_channel"),
        EnsureTyped(keys, dtype=torch.float32, device="cpu"),
    ]
    return Compose([*first, *_drop_file_transforms(transform)])


def write_to_memory(*, keys: KeysCollection, transform: Compose, largest_value: int) -> Compose:
    """Return postprocessing that ends with volumes (1, x, y, z) in [0, largest_value]."""
    return Compose(
        [*_drop_file_transforms(transform), StretchIntensityd(keys, largest_value=largest_value)]
    )


def _drop_file_transforms(transform: Compose) -> list[Callable[..., Any]]:
    steps = transform.flatten().transforms
    return [step for step in steps if not type(step).__name__.startswith(FILE_TRANSFORMS)]


class StretchIntensityd(MapTransform):
    """From [0, 1] to whole numbers in [0, `largest_value`]."""

    def __init__(self, keys: KeysCollection, *, largest_value: int) -> None:
        super().__init__(keys)
        self.largest_value = largest_value

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Stretch and round every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = torch.round(result[key] * self.largest_value)
        return result


class ImageOnlyInferer(Inferer):
    """Calls another inferer without the masks that Deploy hands over beside the image."""

    def __init__(self, *, inferer: Inferer) -> None:
        self.inferer = inferer

    def __call__(
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Translate (1, 1, x, y, z) to the same shape; everything else is left out."""
        return self.inferer(inputs, network)
