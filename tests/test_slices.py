"""From a network volume to slices: what is kept, where it lies, what training may draw."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from data_prep.slices import (
    compute_positions_mm,
    describe_slices,
    select_training_slices,
    stack_slices,
)


def as_data(image, mask, affine=None, **more):
    affine = np.eye(4) if affine is None else affine
    arrays = {"image": image, "brain_mask": mask, **more}
    return {
        name: MetaTensor(torch.as_tensor(array, dtype=torch.float32)[None], affine=affine)
        for name, array in arrays.items()
    }


def test_every_slice_that_touches_the_mask_is_kept_in_order():
    mask = np.zeros((4, 4, 6))
    mask[1, 1, [1, 2, 4]] = 1
    image = np.where(mask > 0, np.arange(6) / 5, -1)
    stack = stack_slices(as_data(image, mask))
    assert stack.slice_indices.tolist() == [1, 2, 4]
    # 65535 * (x + 1) / 2 for x = 0.2, 0.4, 0.8
    assert stack.images[:, 1, 1].tolist() == [39321, 45874, 58982]
    assert stack.images.sum() == 39321 + 45874 + 58982
    assert stack.masks.sum(axis=(1, 2)).tolist() == [1, 1, 1]


def test_storing_errs_by_half_a_step_at_most():
    image = np.random.default_rng(0).uniform(-1, 1, (16, 16, 3))
    stack = stack_slices(as_data(image, np.ones_like(image)))
    back = np.moveaxis(stack.images / 65535 * 2 - 1, 0, -1)
    assert np.abs(back - image).max() <= 1 / 65535 + 3e-7  # half a step of [0, 1], and float32


def test_a_partner_keeps_the_rows_of_its_partner():
    mask, rows = np.zeros((4, 4, 5)), np.zeros((4, 4, 5))
    mask[0, 0, 2] = 1
    rows[0, 0, 1:4] = 1
    stack = stack_slices(as_data(np.zeros((4, 4, 5)), mask, row_mask=rows))
    assert stack.slice_indices.tolist() == [1, 2, 3]
    assert stack.masks.sum(axis=(1, 2)).tolist() == [0, 1, 0]


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="no slice touches"):
        stack_slices(as_data(np.zeros((3, 3, 3)), np.zeros((3, 3, 3))))


def test_truth_is_taken_along():
    mask = np.ones((3, 3, 2))
    stack = stack_slices(as_data(mask, mask, dseg=mask * 3))
    assert stack.dseg is not None
    assert stack.dseg.dtype == np.uint8
    assert np.all(stack.dseg == 3)


def test_positions_are_distances_along_the_slice_normal():
    axial = np.diag([1.5, 1.5, 3.0, 1.0])
    axial[2, 3] = -40
    assert compute_positions_mm(axial, 3).tolist() == [-40, -37, -34]
    # A shear moves slices sideways, which changes no distance between their planes.
    sheared = axial.copy()
    sheared[0, 2] = 5
    assert compute_positions_mm(sheared, 3).tolist() == [-40, -37, -34]
    turned = np.array([[0, 0, 2, 7], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    assert compute_positions_mm(turned, 2).tolist() == [7, 9]


def test_training_slices_hold_brain_and_keep_their_distance():
    fractions = np.array([0.10, 0.15, 0.3, 0.3, 0.3, 0.2, 0.14])
    positions = np.array([0.0, 1.0, 2.0, 3.0, 4.5, 6.4, 9.0])
    chosen = select_training_slices(fractions, positions)
    assert [float(p) for p in positions[chosen]] == [1.0, 3.0, 6.4]


def test_the_hash_is_of_the_stored_bytes():
    mask = np.ones((3, 3, 2))
    stack = stack_slices(as_data(mask * 0.5, mask))
    rows = describe_slices(stack)
    assert rows[1]["sha256"] == hashlib.sha256(stack.images[1].tobytes()).hexdigest()
    assert rows[1] == {**rows[1], "row": 1, "slice_index": 1, "brain_fraction": 1.0}
