"""Views of a slice: what each shows, which are chosen, and evaluation averages as inference."""

from __future__ import annotations

import copy

import pytest
import torch
from monai.data import MetaTensor
from scripts.config_references import load_config
from scripts.cyclegan import Generators
from scripts.inference.slice_inferer import NeighbouringSliceInferer
from scripts.views import View, ViewedGenerator, choose_views, view_generators

from tests.inference_config import BUNDLE

INFERENCE, EVALUATE = (BUNDLE / "configs" / f"{name}.json" for name in ("inference", "evaluate"))
VIEW_LIST = [[0, 0, 0], [0, 0, 1], [1, 2, 0], [2, 1, 1]]


@pytest.mark.parametrize("view", choose_views(VIEW_LIST, 4, "axial"))
def test_views_are_undone(view: View):
    images = torch.randn(2, 3, 8, 9)
    assert torch.equal(view.undo(view.show(images)), images)


def test_a_view_moves_and_mirrors():
    image = torch.zeros(4, 5)
    image[1, 1] = 1
    assert View((1, 2), False).show(image).nonzero().tolist() == [[2, 3]]
    assert View((0, 0), True).show(image).nonzero().tolist() == [[2, 1]]


def test_sagittal_slices_are_not_mirrored_and_no_view_comes_twice():
    assert choose_views(VIEW_LIST, 3, "sagittal") == [
        View((0, 0), False), View((1, 2), False), View((2, 1), False)
    ]  # fmt: skip
    with pytest.raises(ValueError, match="views is 4; expected 1 to 3"):
        choose_views(VIEW_LIST, 4, "sagittal")
    assert any(view.is_mirrored for view in choose_views(VIEW_LIST, 4, "coronal"))


def test_by_default_an_evaluation_measures_what_inference_makes():
    assert load_config(EVALUATE)["views"] == load_config(INFERENCE)["views"]


def make_generators() -> Generators:
    torch.manual_seed(0)
    one = torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")
    return Generators(one, copy.deepcopy(one).requires_grad_(False))


@pytest.mark.parametrize("views", [1, 2, 4])
def test_an_evaluation_averages_as_inference_does(views: int):
    volume = torch.rand(1, 1, 8, 10, 5)
    generators = make_generators()
    inferer = NeighbouringSliceInferer(
        slices=1, distance_mm=3.0, batch_size=2, views=views, average_neighbours=False,
        view_list=load_config(INFERENCE)["view_list"], plane="axial", progress=False,
    )  # fmt: skip
    expected = inferer(MetaTensor(volume), generators.t1w_to_t2w)
    viewed = view_generators(
        generators, views=views, inference_config=str(INFERENCE), plane="axial"
    )
    stack = torch.moveaxis(volume[0], -1, 0)  # (slices, 1, height, width)
    for generator in (viewed.t1w_to_t2w, viewed.t2w_to_t1w):
        found = torch.moveaxis(generator(stack), 0, -1)[None]
        torch.testing.assert_close(found, torch.as_tensor(expected))
    if views > 1:  # a convolution is not symmetric
        assert not torch.allclose(viewed.t1w_to_t2w(stack), generators.t1w_to_t2w(stack))


def test_weights_that_are_loaded_later_are_those_that_are_used():
    generators = make_generators()
    viewed = ViewedGenerator(generators.t1w_to_t2w, choose_views(VIEW_LIST, 2, "axial"))
    with torch.no_grad():
        generators.t1w_to_t2w.weight.zero_()
        generators.t1w_to_t2w.bias.fill_(0.25)
    assert torch.equal(viewed(torch.rand(2, 1, 4, 4)), torch.full((2, 1, 4, 4), 0.25))


def test_the_mean_is_taken_in_single_precision():
    """In bf16, 1 + 2^-8 is 1: the mean of two views of half a step apart would be lost."""

    class Steps(torch.nn.Module):
        values = iter([1.0, 1.0 + 2**-7])

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.full_like(images, next(self.values), dtype=torch.bfloat16)

    viewed = ViewedGenerator(Steps(), choose_views(VIEW_LIST, 2, "axial"))
    assert viewed(torch.zeros(1, 1, 2, 2)).unique().tolist() == [1 + 2**-8]
