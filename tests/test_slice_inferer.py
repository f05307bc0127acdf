"""Volumes through a network slice by slice: neighbours, views, and what is not computed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.inferers import SliceInferer
from scripts.inference.slice_inferer import NeighbouringSliceInferer
from scripts.slice_tables import list_images

VIEW_LIST = [[0, 0, 0], [0, 0, 1], [1, 2, 0], [2, 1, 1]]


def as_batch(volume, affine=None):
    return list_data_collate(
        [MetaTensor(volume, affine=torch.eye(4) if affine is None else affine)]
    )


def make_inferer(**options) -> NeighbouringSliceInferer:
    settings = {
        "slices": 1, "distance_mm": 3.0, "batch_size": 2, "views": 1, "view_list": VIEW_LIST,
        "plane": "axial", "average_neighbours": False, "progress": False, **options,
    }  # fmt: skip
    return NeighbouringSliceInferer(**settings)


def test_one_slice_at_a_time_is_what_monai_does():
    volume = as_batch(torch.randn(1, 8, 12, 5).abs())
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    ours = make_inferer()(volume, network)
    theirs = SliceInferer(roi_size=(8, 12), sw_batch_size=2, spatial_dim=2)(volume, network)
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(theirs))


def test_neighbours_stand_at_their_distance_and_edges_are_repeated():
    values = torch.arange(6.0).expand(1, 2, 2, 6).contiguous()
    volume = as_batch(values, torch.diag(torch.tensor([1.0, 1.0, 1.5, 1.0])))
    seen = []

    def network(stack):
        seen.append(stack[:, :, 0, 0])
        return stack

    result = make_inferer(slices=3, batch_size=99)(volume, network)
    # 3 mm at 1.5 mm a slice: two slices away.
    assert seen[0].tolist() == [
        [0, 0, 2], [0, 1, 3], [0, 2, 4], [1, 3, 5], [2, 4, 5], [3, 5, 5]
    ]  # fmt: skip
    torch.testing.assert_close(torch.as_tensor(result)[0], values)


@pytest.mark.parametrize("spacing_mm", [1.0, 1.2, 2.0, 3.0, 4.0, 6.5])
@pytest.mark.parametrize("distance_mm", [1.5, 3.0])
def test_a_network_sees_the_neighbours_that_it_was_trained_on(spacing_mm, distance_mm):
    """Those of the dataset's table, which has no slices without brain."""
    values = torch.full((1, 2, 2, 14), -1.0)
    values[..., 3:12] = torch.arange(3.0, 12.0)
    seen = []

    def network(stack):
        seen.extend(tuple(int(value) for value in channels) for channels in stack[:, :, 0, 0])
        return stack

    affine = torch.diag(torch.tensor([1.0, 1.0, spacing_mm, 1.0]))
    make_inferer(slices=3, distance_mm=distance_mm)(as_batch(values, affine), network)
    names = ("subject_id", "session", "group", "dataset", "contrast", "shard")
    indices = np.arange(3, 12)
    columns = {"row": indices, "slice_index": indices, "position_mm": -7 + spacing_mm * indices}
    table = pd.DataFrame(dict.fromkeys(names, "a") | {"brain_fraction": 0.5} | columns)
    images = list_images(table, dataset_dir="x", slices=3, slice_distance_mm=distance_mm)
    assert seen == [image.rows for image in images]
    below, middle, above = seen[4]
    assert middle - below == above - middle > 0


def test_slices_of_background_are_not_computed():
    volume = torch.full((1, 4, 4, 6), -1.0)
    volume[..., 2:4] = 0.5
    counts = []

    def network(stack):
        counts.append(len(stack))
        return stack + 0.25

    result = make_inferer()(as_batch(volume), network)
    assert sum(counts) == 2
    assert result[0, 0, 0, 0].tolist() == [-1, -1, 0.75, 0.75, -1, -1]


def test_the_three_results_of_a_slice_are_averaged():
    values = torch.arange(4.0).expand(1, 2, 2, 4).contiguous()

    def network(stack):
        # As below neighbour 0.3 too much, as above neighbour 0.6 too much.
        return stack + torch.tensor([0.3, 0.0, 0.6]).view(1, 3, 1, 1)

    inferer = make_inferer(slices=3, distance_mm=1.0, average_neighbours=True)
    result = inferer(as_batch(values), network)[0, 0, 0, 0]
    # The first slice is seen as middle and as below neighbour, the last as middle and above.
    expected = [0.15, 1.3, 2.3, 3.3]
    torch.testing.assert_close(torch.as_tensor(result), torch.tensor(expected))
    values[..., 0] = -1  # no brain: it is no neighbour either, and stays background
    result = inferer(as_batch(values), network)[0, 0, 0, 0]
    expected = [-1, 1.15, 2.3, 3.3]
    torch.testing.assert_close(torch.as_tensor(result), torch.tensor(expected))


def test_mean_and_spread_of_two_networks():
    volume = as_batch(torch.zeros(1, 4, 4, 3))
    networks = [lambda stack: stack + 0.2, lambda stack: stack - 0.4]
    translation = make_inferer(views=2).translate(volume, networks)
    torch.testing.assert_close(translation.mean, torch.full((1, 1, 4, 4, 3), -0.1))
    torch.testing.assert_close(translation.spread, torch.full((1, 1, 4, 4, 3), 0.3))
    assert make_inferer().translate(volume, networks[:1]).spread is None


def test_the_network_gets_its_own_number_format():
    network = torch.nn.Conv2d(1, 1, 1).bfloat16()
    result = make_inferer()(as_batch(torch.rand(1, 4, 4, 2)), network)
    assert result.dtype == torch.float32
