"""Image quality per subject: PSNR, SSIM, MAE and NMSE inside the brain mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SSIM_SIGMA = 1.5  # pixels; Wang et al. 2004, sec. III-B, as are the three below
SSIM_RADIUS = 5  # pixels, for a window of 11 x 11
SSIM_K1 = 0.01
SSIM_K2 = 0.03
RANGE_TOLERANCE = 1e-3  # of the data range; covers half precision and interpolation, not [-1, 1]
EARLIER_SYSTEM_DATA_RANGE = 2.0  # it measured on [-1, 1], each slice scaled to reach both ends
SUM_NAMES = ("squared_error", "absolute_error", "similarity", "voxels", "target_energy")


def ssim_map(prediction: Tensor, target: Tensor, *, data_range: float) -> Tensor:
    """Structural similarity of every pixel (Wang et al. 2004, doi:10.1109/TIP.2003.819861, eq. 13).

    Two-dimensional Gaussian window, population covariance, symmetric edges ("reflect" of scipy).

    Args:
        prediction: (slices, 1, height, width), height and width at least 11.
        target: the same shape.
        data_range: width of the range of intensities.

    Returns:
        Similarity in [-1, 1], float64, of the same shape.
    """
    _check_window(prediction)
    x, y = prediction.double(), target.double()
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = (
        _filter_gaussian(image) for image in (x, y, x * x, y * y, x * y)
    )
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    return luminance * (2 * (mean_xy - mean_x * mean_y) + c2) / (variances + c2)


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
        _check_shapes(prediction, target, mask)
        _check_ranges(prediction, target, data_range)
        inside = mask.bool()
        x, y = (image.double().where(inside, 0.0) for image in (prediction, target))
        similarity = ssim_map(x, y, data_range=data_range).where(inside, 0.0)
        terms = ((x - y).square(), (x - y).abs(), similarity, inside.double(), y.square())
        sums = torch.stack([term.sum() for term in terms]).tolist()  # waits for the device once
        if sums[3] == 0:
            raise ValueError(f"The brain mask {tuple(mask.shape)} is empty; expected some voxels.")
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

    def update(
        self, subject_ids: Sequence[str], prediction: Tensor, target: Tensor, mask: Tensor
    ) -> None:
        """Add slices (batch, 1, height, width), of which number i shows subject_ids[i]."""
        if len(subject_ids) != len(prediction):
            raise ValueError(
                f"Found {len(subject_ids)} subject ids for {len(prediction)} slices; "
                "expected one per slice."
            )
        _check_shapes(prediction, target, mask)
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
    return float((10 * torch.log10(EARLIER_SYSTEM_DATA_RANGE**2 / error)).mean())


def earlier_system_ssim(prediction: Tensor, target: Tensor) -> float:
    """SSIM as the earlier system gave it: whole slices in [-1, 1], mean over all pixels.

    For reading its tables beside ours only: means below 0 turn the luminance term negative.
    """
    return float(ssim_map(prediction, target, data_range=EARLIER_SYSTEM_DATA_RANGE).mean())


def _filter_gaussian(images: Tensor) -> Tensor:
    """Weighted mean in the window about each pixel of (slices, 1, height, width)."""
    along_height = _compute_window_matrix(images.shape[2]).to(images.device)
    along_width = _compute_window_matrix(images.shape[3]).to(images.device)
    return along_height @ images @ along_width.T  # a float64 convolution is slower


def _compute_window_matrix(size: int) -> Tensor:
    """Row i of (size, size) weighs the pixels about i, mirrored at the edges as c b a | a b c."""
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = torch.exp(-0.5 * (offsets.double() / SSIM_SIGMA).square())
    places = torch.arange(size)[:, None] + offsets
    places = places.where(places >= 0, -1 - places)
    places = places.where(places < size, 2 * size - 1 - places)
    matrix = torch.zeros(size, size, dtype=torch.double)
    return matrix.scatter_add(1, places, (weights / weights.sum()).expand(size, -1))


def _check_window(images: Tensor) -> None:
    window = 2 * SSIM_RADIUS + 1
    if min(images.shape[-2:]) < window:
        raise ValueError(
            f"Found slices of {tuple(images.shape[-2:])} pixels; SSIM expects at least "
            f"{window} x {window}."
        )


def _check_shapes(prediction: Tensor, target: Tensor, mask: Tensor) -> None:
    shapes = [tuple(each.shape) for each in (prediction, target, mask)]
    if len(set(shapes)) > 1 or prediction.ndim != 4 or prediction.shape[1] != 1:
        raise ValueError(
            f"Found shapes {shapes[0]} of the prediction, {shapes[1]} of the target and "
            f"{shapes[2]} of the mask; expected (slices, 1, height, width) of all three."
        )


def _check_ranges(prediction: Tensor, target: Tensor, data_range: float) -> None:
    tolerance = RANGE_TOLERANCE * data_range
    for name, images in (("prediction", prediction), ("target", target)):
        low, high = (float(value) for value in torch.aminmax(images))
        if not (low >= -tolerance and high <= data_range + tolerance):  # also true of NaN
            raise ValueError(
                f"The {name} lies in [{low:g}, {high:g}]; expected [0, {data_range:g}]. Network "
                "images in [-1, 1] are mapped by (image + 1) / 2 first."
            )
