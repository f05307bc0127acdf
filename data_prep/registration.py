"""Rigid registration of two volumes of one head (Mattes mutual information, SimpleITK)."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.affines import apply_affine
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from data_prep.mutual_information import compute_normalised_mutual_information

# Against known poses: 0.1 mm off; with random sampling and constant steps 2.7 mm.
HISTOGRAM_BINS = 32
SAMPLED_PART, SAMPLING_SEED = 0.2, 1  # without a seed ITK takes the time of day
FIRST_STEP, LAST_STEP, MOST_STEPS = 2.0, 1e-4, 200
# In mm and for each axis: shrinking a 6 mm slice by 4, as ITK's own pyramid would, leaves nothing.
LEVELS_MM = (4.0, 2.0, 1.0)
# The brain and what lies around it, whose outline aligns; the whole head drags jaw and neck in.
RIM_MM = 5.0
# Two scans of one session lie closer than this; more is a registration gone astray.
MAX_TRANSLATION_MM, MAX_ROTATION_DEGREES = 20.0, 15.0
# Resampling alone changes the normalised information of a pair that was aligned already.
TOLERATED_FALL = 0.002
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI counts to the right and front, ITK does not
LINEAR, NEAREST, BSPLINE = sitk.sitkLinear, sitk.sitkNearestNeighbor, sitk.sitkBSpline
INTERPOLATIONS = {"linear": LINEAR, "nearest": NEAREST, "bspline": BSPLINE}

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class RegistrationError(ValueError):
    """The optimiser found no pose."""


@dataclass(frozen=True, eq=False)
class RigidRegistration:
    """The pose of a moving volume.

    Attributes:
        matrix: (4, 4), maps a point of the fixed head to the same point of the moving one, both
            in scanner coordinates, RAS mm. `np.linalg.inv` carries a mask from fixed to moving.
        translation_mm: how far the brain's centre moves.
        rotation_degrees: by how much the head turns.
        mutual_information_before: normalised, by scanner coordinates, over the brain voxels that
            both poses see, at full resolution.
        mutual_information_after: the same with ``matrix``.
        flags: why the pose is not plausible; empty where it is.
    """

    matrix: Array
    translation_mm: float
    rotation_degrees: float
    mutual_information_before: float
    mutual_information_after: float
    flags: tuple[str, ...]


def register_rigid(
    fixed: SpatialImage, moving: SpatialImage, *, fixed_mask: SpatialImage | None
) -> RigidRegistration:
    """Find the pose of a moving volume, starting from scanner coordinates.

    ITK runs on one thread, so that the same input gives the same bits.

    Args:
        fixed: volume (x, y, z), usually the T1w.
        moving: volume (x, y, z) of the same head on any grid.
        fixed_mask: brain mask on the fixed grid; None takes the head by Otsu's threshold.

    Raises:
        RegistrationError: the optimiser fails, for example since the two do not overlap.
        ValueError: the mask is empty or on another grid, or an affine is singular.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    fixed_itk, moving_itk = to_itk(fixed), to_itk(moving)
    if fixed_mask is None:
        mask = sitk.OtsuThreshold(fixed_itk, 0, 1)
        inside = np.transpose(sitk.GetArrayFromImage(mask)) > 0
    else:
        inside = _check_mask(fixed, fixed_mask)
        mask = to_itk(fixed_mask) > 0.5
    centre = apply_affine(fixed.affine, np.argwhere(inside).mean(axis=0))
    transform = sitk.Euler3DTransform()
    transform.SetCenter((RAS_TO_LPS[:3, :3] @ centre).tolist())
    rim = sitk.SignedMaurerDistanceMap(mask, squaredDistance=False, useImageSpacing=True) <= RIM_MM
    try:
        for level_mm in LEVELS_MM:
            _optimise(fixed_itk, moving_itk, rim, transform, level_mm)
    except RuntimeError as error:
        raise RegistrationError(
            "the registration failed; the two may share too little space, or one is constant. "
            f"ITK: {str(error).strip().splitlines()[-1]}"
        ) from error
    return _judge(fixed, moving, inside, centre, to_matrix(transform))


def _check_mask(fixed: SpatialImage, mask: SpatialImage) -> Mask:
    """The mask's voxels; ValueError where it cannot be the fixed volume's."""
    if mask.shape != fixed.shape or not np.allclose(mask.affine, fixed.affine, atol=1e-3):
        expected = f"expected {fixed.shape} with the same affine. Resample it first"
        raise ValueError(f"the brain mask is on another grid: {mask.shape}, {expected}.")
    inside = np.asarray(mask.dataobj) > 0.5
    if not inside.any():
        raise ValueError("the brain mask is empty; expected one that covers the brain.")
    return inside


def _optimise(
    fixed: sitk.Image,
    moving: sitk.Image,
    mask: sitk.Image,
    transform: sitk.Euler3DTransform,
    level_mm: float,
) -> None:
    """Improve a transform in place on images of about ``level_mm`` resolution."""
    shrink = [max(1, int(level_mm / spacing + 0.5)) for spacing in fixed.GetSpacing()]
    if level_mm > min(LEVELS_MM):
        fixed, moving = (
            sitk.SmoothingRecursiveGaussian(image, [level_mm / 2] * 3) for image in (fixed, moving)
        )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED_PART, SAMPLING_SEED)
    method.SetMetricFixedMask(sitk.Shrink(mask, shrink))
    # ITK smooths the gradient by the largest spacing, which turns its sign on thick slices: IXI002
    # with 6 mm ended 25 mm away. Without the filter it is that of the interpolated image.
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(FIRST_STEP, LAST_STEP, MOST_STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(sitk.Shrink(fixed, shrink), moving)


def _judge(
    fixed: SpatialImage, moving: SpatialImage, inside: Mask, centre: Array, matrix: Array
) -> RigidRegistration:
    """Measure a pose and name what is not plausible."""
    translation = float(np.linalg.norm(apply_affine(matrix, centre) - centre))
    # |R - 1| = 2 sqrt(2) sin(angle / 2); exact for small angles, where the trace is not.
    turned = np.linalg.norm(matrix[:3, :3] - np.eye(3)) / (2 * np.sqrt(2))
    rotation = float(np.degrees(2 * np.arcsin(min(1.0, turned))))
    before, after = _compare_poses(fixed, moving, inside, matrix)
    flags = []
    if after < before - TOLERATED_FALL:
        flags.append(f"mutual information fell from {before:.4f} to {after:.4f}")
    if translation > MAX_TRANSLATION_MM:
        flags.append(f"|t| {translation:.1f} mm > {MAX_TRANSLATION_MM:.0f} mm")
    if rotation > MAX_ROTATION_DEGREES:
        flags.append(f"|r| {rotation:.1f} > {MAX_ROTATION_DEGREES:.0f} degrees")
    return RigidRegistration(matrix, translation, rotation, before, after, tuple(flags))


def _compare_poses(
    fixed: SpatialImage, moving: SpatialImage, inside: Mask, matrix: Array
) -> tuple[float, float]:
    """Normalised mutual information before and after, over the voxels that both poses see."""
    voxels = np.asarray(moving.dataobj, dtype=np.float32)
    points = apply_affine(fixed.affine, np.argwhere(inside))
    samples = []
    for pose in (np.eye(4), matrix):
        where = apply_affine(np.linalg.inv(moving.affine) @ pose, points)
        samples.append(map_coordinates(voxels, where.T, order=1, mode="constant", cval=np.nan))
    seen = np.isfinite(samples[0]) & np.isfinite(samples[1])
    if not seen.any():
        raise RegistrationError("the registration failed: the moved volume misses the brain.")
    reference = np.asarray(fixed.dataobj, dtype=np.float32)[inside][seen]
    before, after = (
        compute_normalised_mutual_information(reference, sample[seen], bins=HISTOGRAM_BINS)
        for sample in samples
    )
    return before, after


def resample_to(
    grid: SpatialImage, moving: SpatialImage, matrix: Array, *, interpolation: str
) -> nib.Nifti1Image:
    """Sample a volume on the grid of another as float32, 0 where it shows nothing.

    Args:
        grid: whose shape and affine the result has.
        moving: volume to sample.
        matrix: (4, 4), from a point of the grid's head to the moving one's, RAS mm.
        interpolation: a name of `INTERPOLATIONS`.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation {interpolation!r}: expected {', '.join(INTERPOLATIONS)}.")
    method = INTERPOLATIONS[interpolation]
    transform = to_itk_transform(matrix)
    sampled = sitk.Resample(to_itk(moving), to_itk(grid), transform, method, 0.0)
    return nib.Nifti1Image(np.transpose(sitk.GetArrayFromImage(sampled)), grid.affine)


def to_itk(image: SpatialImage) -> sitk.Image:
    """The same volume for ITK: float32, its affine split into spacing, direction and origin."""
    affine = RAS_TO_LPS @ image.affine
    if image.ndim != 3 or abs(np.linalg.det(affine)) < 1e-9:
        raise ValueError(
            f"volume of shape {image.shape} with affine {image.affine.tolist()}: expected three "
            "dimensions and an affine that can be inverted."
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    voxels = np.transpose(np.asarray(image.dataobj, dtype=np.float32))
    result = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    result.SetSpacing(spacing.tolist())
    result.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    result.SetOrigin(affine[:3, 3].tolist())
    return result


def to_itk_transform(matrix: Array) -> sitk.AffineTransform:
    """The same (4, 4) matrix in RAS mm for ITK, whose axes run to the left and back."""
    flipped = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(flipped[:3, :3].ravel().tolist())
    transform.SetTranslation(flipped[:3, 3].tolist())
    return transform


def to_matrix(transform: sitk.Euler3DTransform) -> Array:
    """The (4, 4) matrix in RAS mm of a rigid transform of ITK."""
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - rotation @ centre
    return RAS_TO_LPS @ matrix @ RAS_TO_LPS
