"""The networks have the size, reach and layers that the papers and the earlier system give them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import PatchDiscriminator as MonaiPatchDiscriminator
from scripts.networks import (
    PatchDiscriminator,
    ResidualBlock,
    ResnetGenerator,
    initialise_weights,
)
from torch import Tensor, nn

from tests.plain_networks import copy_plainly

KINDS = ["transposed", "resize"]
may_script = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")


def make_generator(kind: str = "transposed", channels: int = 1) -> ResnetGenerator:
    network = ResnetGenerator(
        in_channels=channels, out_channels=channels, features=4, blocks=1, upsampling=kind
    )
    return initialise_weights(network, standard_deviation=0.2, seed=1)


def make_images(*shape: int) -> Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(7)) - 1


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_generator_of_the_baseline_has_7825153_parameters(kind: str) -> None:
    network = ResnetGenerator(in_channels=1, out_channels=1, features=64, blocks=6, upsampling=kind)
    assert count_parameters(network) == 7_825_153


@pytest.mark.parametrize("downsamplings", [3, 4])
def test_discriminator_of_the_baseline_has_2762689_parameters(downsamplings: int) -> None:
    network = PatchDiscriminator(
        in_channels=1, features=64, downsamplings=downsamplings, normalization="instance"
    )
    assert count_parameters(network) == 2_762_689


def test_generator_has_the_layers_of_zhu_2017() -> None:
    network = ResnetGenerator(
        in_channels=3, out_channels=2, features=8, blocks=2, upsampling="transposed"
    )
    layers = [
        (module.in_channels, module.out_channels, module.kernel_size[0], module.stride[0])
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
    ]
    assert layers == [
        (3, 8, 7, 1),
        (8, 16, 3, 2),
        (16, 32, 3, 2),
        *[(32, 32, 3, 1)] * 4,
        (32, 16, 3, 2),
        (16, 8, 3, 2),
        (8, 2, 7, 1),
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(5, 5), (8, 8), (13, 16), (30, 37), (128, 127)])
def test_generator_keeps_every_size_and_the_range(kind: str, size: tuple[int, int]) -> None:
    output = make_generator(kind)(make_images(2, 1, *size))
    assert output.shape == (2, 1, *size)
    assert output.abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_odd_sizes_are_reflected_at_the_far_edges_and_cut_off_again(kind: str) -> None:
    network, image = make_generator(kind), make_images(1, 1, 22, 29)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 2), (0, 3)), mode="reflect")
    expected = network(torch.from_numpy(padded))[:, :, :22, :29]
    assert torch.equal(network(image), expected)


def test_generator_treats_the_images_of_a_batch_apart() -> None:
    network, images = make_generator(), make_images(3, 1, 16, 16)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


@pytest.mark.parametrize("kind", KINDS)
def test_generator_takes_and_gives_three_slices(kind: str) -> None:
    assert make_generator(kind, channels=3)(make_images(2, 3, 20, 24)).shape == (2, 3, 20, 24)


@may_script
@pytest.mark.parametrize("kind", KINDS)
def test_scripted_generator_gives_the_same_image(kind: str) -> None:
    network, image = make_generator(kind), make_images(1, 1, 30, 37)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_exported_generator_takes_any_batch_and_any_multiple_of_four(kind: str) -> None:
    network, image = make_generator(kind), make_images(3, 1, 40, 44)
    sizes = {
        0: torch.export.Dim("batch", max=64),
        2: 4 * torch.export.Dim("rows", min=2, max=64),
        3: 4 * torch.export.Dim("columns", min=2, max=64),
    }
    exported = torch.export.export(network, (make_images(2, 1, 32, 64),), dynamic_shapes=(sizes,))
    torch.testing.assert_close(exported.module()(image), network(image))


def test_a_residual_block_without_weights_returns_its_input() -> None:
    block, features = ResidualBlock(3), make_images(1, 3, 8, 8)
    initialise_weights(block, standard_deviation=0.0, seed=1)
    assert torch.equal(block(features), features)


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_plain_layers(kind: str) -> None:
    torch.manual_seed(0)
    network = ResnetGenerator(
        in_channels=1, out_channels=1, features=6, blocks=2, upsampling=kind
    ).double()
    plain = copy_plainly(network, upsampling=kind)
    images = [make_images(2, 1, 24, 36).double().requires_grad_() for _ in range(2)]
    outputs = [network(images[0]), plain(images[1])]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    torch.testing.assert_close(images[0].grad, images[1].grad)
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_unknown_upsampling_is_named() -> None:
    with pytest.raises(ValueError, match=r"'bilinear'.*'transposed' or 'resize'"):
        make_generator("bilinear")


@pytest.mark.parametrize(("downsamplings", "field"), [(3, 70), (4, 94)])
def test_a_decision_sees_the_published_field(downsamplings: int, field: int) -> None:
    network = PatchDiscriminator(
        in_channels=1, features=2, downsamplings=downsamplings, normalization="instance"
    )
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.InstanceNorm2d):  # sees the whole image
            network.set_submodule(name, nn.Identity())
    image = make_images(1, 1, 256, 256).requires_grad_()
    decision = network(image)
    decision[0, 0, decision.shape[2] // 2, decision.shape[3] // 2].backward()
    rows, columns = image.grad[0, 0].nonzero().unbind(dim=1)
    assert [int(each.max() - each.min()) + 1 for each in (rows, columns)] == [field, field]


@pytest.mark.parametrize(("downsamplings", "size"), [(3, 14), (4, 7)])
def test_decisions_of_128_pixels(downsamplings: int, size: int) -> None:
    network = PatchDiscriminator(
        in_channels=3, features=4, downsamplings=downsamplings, normalization="instance"
    )
    assert network(make_images(2, 3, 128, 128)).shape == (2, 1, size, size)


def test_the_decision_is_the_last_of_monais_features() -> None:
    monai = MonaiPatchDiscriminator(
        spatial_dims=2, in_channels=1, channels=4, num_layers_d=3, norm="INSTANCE", bias=True
    )
    network = PatchDiscriminator(
        in_channels=1, features=4, downsamplings=3, normalization="instance"
    )
    image = make_images(2, 1, 64, 64)
    network.layers.load_state_dict(monai.state_dict())
    torch.testing.assert_close(network(image), monai(image)[-1])


@may_script
def test_scripted_discriminator_gives_the_same_decision() -> None:
    network = PatchDiscriminator(
        in_channels=1, features=4, downsamplings=4, normalization="instance"
    )
    image = make_images(1, 1, 96, 96)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


def test_a_discriminator_with_five_downsamplings_is_refused() -> None:
    with pytest.raises(ValueError, match="downsamplings is 5; expected 3 or 4"):
        PatchDiscriminator(in_channels=1, features=4, downsamplings=5, normalization="instance")


@pytest.mark.parametrize(
    "network",
    [
        ResnetGenerator(in_channels=1, out_channels=1, features=16, blocks=2, upsampling="resize"),
        PatchDiscriminator(in_channels=1, features=16, downsamplings=3, normalization="instance"),
    ],
)
def test_initial_weights_are_normal_and_biases_zero(network: nn.Module) -> None:
    initialise_weights(network, standard_deviation=0.02, seed=3)
    parameters = {name: each.detach() for name, each in network.named_parameters()}
    weights = torch.cat([each.flatten() for name, each in parameters.items() if "weight" in name])
    assert abs(weights.mean()) < 0.0005
    assert weights.std() == pytest.approx(0.02, rel=0.03)
    assert all(not each.any() for name, each in parameters.items() if "bias" in name)


def test_a_seed_gives_the_same_weights_and_leaves_torchs_own_randomness_alone() -> None:
    networks = [make_generator(), make_generator(), make_generator()]
    before = torch.get_rng_state()
    first, second, other = (
        initialise_weights(network, standard_deviation=0.02, seed=seed).encoder[0].weight
        for network, seed in zip(networks, (3, 3, 4), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
