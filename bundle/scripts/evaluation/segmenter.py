"""Whether tissues can be found in synthetic images as they can in real ones.

A small segmenter is trained on real images of the target contrast with known tissues, and labels
real and synthetic test images: Dice against the truth, and their ratio (EVALUATION rule 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.losses import DiceCELoss
from monai.metrics import compute_dice
from monai.networks.nets import BasicUNet
from torch import Tensor, nn
from tqdm import tqdm

from scripts.datasets import read_image, read_labels
from scripts.evaluation.evaluator import select_centre, to_unit_range
from scripts.sampling import draw_position
from scripts.slice_tables import SliceImage, SlicePair, load_training_pairs

CLASSES = 4  # other, cerebrospinal fluid, grey matter, white matter


@dataclass(frozen=True, kw_only=True)
class SegmenterTraining:
    """How the segmenter is trained; `steps` 0 for none.

    Attributes:
        steps: of Adam.
        batch_size: images in a step.
        features: channels of the first layer of the U-Net.
        learning_rate: of Adam.
        seed: of weights and order.
    """

    steps: int
    batch_size: int
    features: int
    learning_rate: float
    seed: int


def train_segmenters(
    dataset_dir: str,
    training: SegmenterTraining,
    *,
    evaluated: Sequence[SlicePair],
    device: torch.device | str,
) -> dict[str, nn.Module]:
    """Train one for each contrast, on registered training pairs whose tissues are known.

    Args:
        dataset_dir: slice dataset to train on.
        training: settings.
        evaluated: what will be labelled; nothing is trained if none of it has known tissues.
        device: to train on.

    Returns:
        By target, "t2w" and "t1w"; nothing where no tissues are known.
    """
    if training.steps == 0 or not any(_is_known(pair) for pair in evaluated):
        return {}
    pairs = load_training_pairs(dataset_dir)
    known = [pair for pair in pairs if _is_known(pair)]
    if not known:
        return {}
    truth = [pair.t1w for pair in known]
    images = {"t1w": truth, "t2w": [pair.t2w for pair in known]}
    return {
        name: train_segmenter(images[name], truth, training, name=name, device=torch.device(device))
        for name in ("t2w", "t1w")
    }


def _is_known(pair: SlicePair) -> bool:
    return read_labels([pair.t1w]) is not None


def train_segmenter(
    images: list[SliceImage],
    truth: list[SliceImage],
    training: SegmenterTraining,
    *,
    name: str,
    device: torch.device,
) -> nn.Module:
    """Train a U-Net on slices.

    Args:
        images: slices of one contrast.
        truth: the slices beside which their labels lie.
        training: settings.
        name: shown at the progress bar.
        device: to train on.
    """
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        features = tuple(training.features * factor for factor in (1, 1, 2, 4, 8, 1))
        network = BasicUNet(spatial_dims=2, out_channels=CLASSES, features=features).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
        loss_function = DiceCELoss(to_onehot_y=True, softmax=True)
        network.train()
        for step in tqdm(range(training.steps), desc=f"segmenter of {name}", leave=False):
            batch, labels = _read_batch(images, truth, training, step)
            optimizer.zero_grad(set_to_none=True)
            loss_function(network(batch.to(device)), labels.to(device)).backward()
            optimizer.step()
    return network.eval()


def _read_batch(
    images: list[SliceImage], truth: list[SliceImage], training: SegmenterTraining, step: int
) -> tuple[Tensor, Tensor]:
    numbers = range(step * training.batch_size, (step + 1) * training.batch_size)
    chosen = [
        draw_position(number, length=len(images), seed=training.seed, stream="segmenter")
        for number in numbers
    ]
    batch = [select_centre(read_image(images[index])[0][None]) for index in chosen]
    labels = read_labels([truth[index] for index in chosen])
    if labels is None:
        raise ValueError("A slice has no labels; expected only slices with known tissues.")
    return to_unit_range(torch.cat(batch)), labels.long()


@torch.no_grad()
def measure_dice(segmenter: nn.Module, image: Tensor, labels: Tensor, mask: Tensor) -> float:
    """Mean Dice of the three tissues over one volume.

    Args:
        segmenter: of the image's contrast.
        image: (slices, 1, height, width) in [0, 1].
        labels: true tissues, the same shape.
        mask: the same shape; nothing outside it counts.
    """
    device = next(segmenter.parameters()).device
    decisions = [segmenter(part.to(device)).argmax(dim=1, keepdim=True) for part in image.split(16)]
    found = torch.cat(decisions).cpu().where(mask, 0)
    truth = labels.long().where(mask, 0)
    volumes = [_one_hot(each) for each in (found, truth)]
    return float(compute_dice(volumes[0], volumes[1], include_background=False).nanmean())


def _one_hot(labels: Tensor) -> Tensor:
    """(slices, 1, height, width) to one volume (1, class, slices, height, width)."""
    return nn.functional.one_hot(labels[:, 0], CLASSES).movedim(-1, 0)[None]
