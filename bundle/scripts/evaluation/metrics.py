"""Image quality per subject: PSNR, SSIM, MAE and NMSE inside the brain mask."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from scripts.evaluation.image_checks import check_mask, check_ranges, check_shapes
from scripts.evaluation.ssim import ssim_map
from scripts.processes import gather_objects

EARLIER_SYSTEM_DATA_RANGE = 2.0  # it measured on [-1, 1], each slice scaled to reach both ends
SUM_NAMES = ("squared_error", "absolute_error", "similarity", "voxels", "target_energy")


@dataclass(frozen=True, kw_only=True)
class SubjectSums:
    """Sums over the mask's voxels of one subject, from which every figure follows.

    Sums of parts of a subject add up to those of the whole, however it was cut into batches.
    """

    squared_error: float
    absolute_error: float
    similarity: float
    voxels: float
    target_energy: float
    data_range: float

    @classmethod
    def from_slices(
        cls, prediction: Tensor, target: Tensor, mask: Tensor, *, data_range: float
    ) -> SubjectSums:
        """Sum over the mask, in float64. What lies outside it is taken for background, 0.

        Args:
            prediction: (slices, 1, height, width) in [0, data_range].
            target: the same shape and range.
            mask: the same shape, boolean or 0 and 1.
            data_range: width of the range of intensities.
        """
        check_shapes(prediction=prediction, target=target, mask=mask)
        check_ranges(prediction=prediction, target=target, data_range=data_range)
        check_mask(mask)
        inside = mask.bool()
        x, y = (image.double().where(inside, 0.0) for image in (prediction, target))
        similarity = ssim_map(x, y, data_range=data_range).where(inside, 0.0)
        terms = ((x - y).square(), (x - y).abs(), similarity, inside.double(), y.square())
        sums = torch.stack([term.sum() for term in terms]).tolist()  # waits for the device once
        return cls(**dict(zip(SUM_NAMES, sums, strict=True)), data_range=data_range)

    def __add__(self, other: SubjectSums) -> SubjectSums:
        if self.data_range != other.data_range:
            raise ValueError(
                f"Cannot add sums of data_range {self.data_range} and {other.data_range}."
            )
        sums = {name: getattr(self, name) + getattr(other, name) for name in SUM_NAMES}
        return SubjectSums(**sums, data_range=self.data_range)

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB, infinite without an error."""
        if self.squared_error == 0:
            return math.inf
        return 10 * math.log10(self.data_range**2 * self.voxels / self.squared_error)

    @property
    def ssim(self) -> float:
        """Mean of the similarity map."""
        return self.similarity / self.voxels

    @property
    def mae(self) -> float:
        """Mean absolute error, in units of the data."""
        return self.absolute_error / self.voxels

    @property
    def nmse(self) -> float:
        """Squared error over the target's energy; infinite for a target that is 0 everywhere."""
        return self.squared_error / self.target_energy if self.target_energy else math.inf


def masked_psnr(prediction: Tensor, target: Tensor, mask: Tensor, *, data_range: float) -> float:
    """PSNR in dB of one subject's slices (slices, 1, height, width), pooled over the mask."""
    return SubjectSums.from_slices(prediction, target, mask, data_range=data_range).psnr


def masked_ssim(prediction: Tensor, target: Tensor, mask: Tensor, *, data_range: float) -> float:
    """SSIM of one subject's slices (slices, 1, height, width), the map pooled over the mask."""
    return SubjectSums.from_slices(prediction, target, mask, data_range=data_range).ssim


def masked_mae(prediction: Tensor, target: Tensor, mask: Tensor, *, data_range: float) -> float:
    """Mean absolute error of one subject's slices (slices, 1, height, width) inside the mask."""
    return SubjectSums.from_slices(prediction, target, mask, data_range=data_range).mae


def masked_nmse(prediction: Tensor, target: Tensor, mask: Tensor, *, data_range: float) -> float:
    """Normalised squared error of one subject's slices (slices, 1, height, width) in the mask."""
    return SubjectSums.from_slices(prediction, target, mask, data_range=data_range).nmse


class SubjectMetrics:
    """Collects slices of many subjects in any order and gives the figures of each subject."""

    def __init__(self, *, data_range: float) -> None:
        self.data_range = data_range
        self.sums: dict[str, SubjectSums] = {}

    def reset(self) -> None:
        """Forget every subject."""
        self.sums = {}

    def gather(self) -> None:
        """Add what the other processes collected, so that all hold the same subjects."""
        parts = gather_objects(self.sums)
        if len(parts) > 1:
            names = dict.fromkeys(name for part in parts for name in part)
            self.sums = {
                name: reduce(operator.add, [part[name] for part in parts if name in part])
                for name in sorted(names)
            }

    def update(
        self, subject_ids: Sequence[str], prediction: Tensor, target: Tensor, mask: Tensor
    ) -> None:
        """Add slices (batch, 1, height, width), of which number i shows subject_ids[i]."""
        if len(subject_ids) != len(prediction):
            raise ValueError(
                f"Found {len(subject_ids)} subject ids for {len(prediction)} slices; "
                "expected one per slice."
            )
        check_shapes(prediction=prediction, target=target, mask=mask)
        for subject_id in dict.fromkeys(subject_ids):
            rows = [row for row, other in enumerate(subject_ids) if other == subject_id]
            self._add(subject_id, prediction[rows], target[rows], mask[rows])

    def _add(self, subject_id: str, prediction: Tensor, target: Tensor, mask: Tensor) -> None:
        try:
            sums = SubjectSums.from_slices(prediction, target, mask, data_range=self.data_range)
        except ValueError as error:
            raise ValueError(f"{subject_id}: {error}") from error
        earlier = self.sums.get(subject_id)
        self.sums[subject_id] = sums if earlier is None else earlier + sums

    def compute(self) -> dict[str, dict[str, float]]:
        """Return psnr (dB), ssim, mae and nmse of each subject."""
        return {
            subject_id: {"psnr": sums.psnr, "ssim": sums.ssim, "mae": sums.mae, "nmse": sums.nmse}
            for subject_id, sums in sorted(self.sums.items())
        }

    def mean(self) -> dict[str, float]:
        """Return each figure's mean over the subjects, all of equal weight."""
        subjects = list(self.compute().values())
        if not subjects:
            raise ValueError("There is no subject to average over; expected an update before.")
        return {
            name: sum(figures[name] for figures in subjects) / len(subjects) for name in subjects[0]
        }


def earlier_system_psnr(prediction: Tensor, target: Tensor) -> float:
    """PSNR as the earlier system gave it: whole slices in [-1, 1], mean of the slices' dB.

    For reading its tables beside ours only: half of every slice is background.
    """
    error = (prediction.double() - target.double()).square().mean(dim=(1, 2, 3))
    return mean_decibels(10 * torch.log10(EARLIER_SYSTEM_DATA_RANGE**2 / error))


def mean_decibels(by_slice: Tensor) -> float:
    """Mean PSNR (dB) of slices (n,), without those that have no error, such as dark tips.

    One of them would make the mean infinite; without any error it is infinity.
    """
    differing = by_slice[by_slice != math.inf]
    return float(differing.mean()) if len(differing) else math.inf


def earlier_system_ssim(prediction: Tensor, target: Tensor) -> float:
    """SSIM as the earlier system gave it: whole slices in [-1, 1], mean over all pixels.

    For reading its tables beside ours only: means below 0 turn the luminance term negative.
    """
    return float(ssim_map(prediction, target, data_range=EARLIER_SYSTEM_DATA_RANGE).mean())
