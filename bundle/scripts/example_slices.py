"""The same few slices, translated both ways after each validation, for handlers that draw them."""

from __future__ import annotations

from dataclasses import dataclass

from ignite.engine import Engine
from torch import Tensor
from torch.utils.data import default_collate

from scripts.cyclegan import Images
from scripts.datasets import read_image
from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.handlers import when_validated
from scripts.image_panels import choose_fullest_slices
from scripts.slice_tables import SliceImage
from scripts.training_slices import TrainingSlices


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A batch of slices of different subjects and what the averaged generators make of them.

    Attributes:
        images: of `translate_cycles`, on the device of the generators.
        masks: "t1w" and "t2w", the brain (batch, 1, height, width) in the real image of that
            contrast, and so in all that is made from it.
        are_pairs: whether real T1w and T2w show one slice of one subject.
    """

    images: Images
    masks: dict[str, Tensor]
    are_pairs: bool


class ExampleSlices:
    """Stores `Examples` in `engine.state.examples` after each validation, on the first process.

    They are the fullest slices of a few subjects: registered pairs of the evaluator's data or,
    where it has none, training slices, a T1w of one subject beside the T2w of another.

    Args:
        evaluator: translates, and holds the pairs.
        training: slices that take the place of pairs.
        count: images of each contrast; fewer where there are fewer subjects. 0 stores nothing.
        val_interval: epochs between two validations.
    """

    def __init__(
        self,
        *,
        evaluator: CycleGanEvaluator,
        training: TrainingSlices,
        count: int,
        val_interval: int,
    ) -> None:
        self.evaluator = evaluator
        self.training = training
        self.count = count
        self.val_interval = val_interval

    def attach(self, engine: Engine) -> None:
        """Act after validations; attach it before those who read `engine.state.examples`."""
        if self.count > 0:
            engine.add_event_handler(when_validated(self.val_interval), self)

    def __call__(self, engine: Engine) -> None:
        """Translate the examples anew."""
        if engine.state.rank == 0:
            engine.state.examples = self._translate_pairs() or self._translate_training_slices()

    def _translate_pairs(self) -> Examples | None:
        dataset = self.evaluator.data_loader.dataset
        numbers = choose_fullest_slices([pair.t1w for pair in dataset.data], count=self.count)
        if not numbers:
            return None
        batch = default_collate([dataset[number] for number in numbers])
        images = self.evaluator.translate(batch["t1w"], batch["t2w"])
        masks = dict.fromkeys(("t1w", "t2w"), batch["mask"])
        return Examples(images=images, masks=masks, are_pairs=True)

    def _translate_training_slices(self) -> Examples:
        fullest = [
            [slices[number] for number in choose_fullest_slices(slices, count=self.count)]
            for slices in (self.training.t1w, self.training.t2w)
        ]
        count = min(map(len, fullest))
        (t1w, t1w_masks), (t2w, t2w_masks) = (_read_batch(slices[:count]) for slices in fullest)
        images = self.evaluator.translate(t1w, t2w)
        return Examples(images=images, masks={"t1w": t1w_masks, "t2w": t2w_masks}, are_pairs=False)


def _read_batch(slices: list[SliceImage]) -> tuple[Tensor, Tensor]:
    images, masks = default_collate([read_image(each) for each in slices])
    return images, masks
