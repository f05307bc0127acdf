"""A pool of earlier fakes, from which the discriminators learn."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """Mixes fakes of earlier steps into a batch (Shrivastava et al. 2017, sec. 2.3; Zhu 2017).

    Until the pool holds `size` images, each is stored and returned. After that, with probability
    one half, an image takes the place of a stored one, which is returned instead.

    The images stay on their device; only Python integers decide, so that nothing waits for it.

    Args:
        size: number of images that are kept; with 0 every query returns its input.
        seed: of the pool's own random numbers.
    """

    def __init__(self, *, size: int, seed: int) -> None:
        self.size = size
        self._images = torch.empty(0)
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._images)

    def query(self, images: Tensor) -> Tensor:
        """Return (batch, channel, height, width), detached, each image new or from the pool."""
        images = images.detach()
        if self.size == 0:
            return images
        stored = list(self._images.to(images.device).unbind()) if len(self) else []
        chosen = [self._exchange(image, stored) for image in images.unbind()]
        self._images = torch.stack(stored)
        return torch.stack(chosen)

    def _exchange(self, image: Tensor, stored: list[Tensor]) -> Tensor:
        if len(stored) < self.size:
            stored.append(image)
            return image
        if torch.rand((), generator=self._generator).item() < 0.5:
            return image
        place = int(torch.randint(self.size, (), generator=self._generator).item())
        earlier, stored[place] = stored[place], image
        return earlier

    def state_dict(self) -> dict[str, Tensor]:
        """Images and random state: all that the next query depends on."""
        return {"images": self._images, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore `state_dict()`, wherever its tensors were loaded to."""
        if len(state["images"]) > self.size:
            raise ValueError(
                f"The saved image pool holds {len(state['images'])} images, this one at most "
                f"{self.size}; set the pool's size to that of the run to go on with."
            )
        self._images = state["images"].clone()
        self._generator.set_state(state["generator"].cpu())
