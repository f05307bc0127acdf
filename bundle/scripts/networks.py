"""The two networks of CycleGAN: a ResNet generator and a PatchGAN discriminator."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

import torch
from monai.networks.nets import PatchDiscriminator as MonaiPatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from scripts.convolutions import ReflectConvolution, ResizeConvolution, RowConvolution
from scripts.padding import pad_far_edges

Network = TypeVar("Network", bound=nn.Module)
LAYOUTS = {
    "contiguous_format": torch.contiguous_format,
    "channels_last": torch.channels_last,
}


def select_layout(memory_format: str) -> torch.memory_format:
    """How weights and images lie in memory, by name; ValueError for another one."""
    if memory_format not in LAYOUTS:
        raise ValueError(f"memory_format is {memory_format!r}; expected one of {[*LAYOUTS]}.")
    return LAYOUTS[memory_format]


class ResidualBlock(nn.Module):
    """R: two 3x3 convolutions with reflection padding beside an identity path (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ReflectConvolution(channels, channels),
            nn.InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            ReflectConvolution(channels, channels),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Keep the shape (batch, channel, height, width)."""
        output: Tensor = features + self.layers(features)
        return output


def _downsampling(in_channels: int) -> list[nn.Module]:
    """d: 3x3, stride 2, zero padding as in the code of Zhu et al. 2017; twice the channels."""
    return [
        nn.Conv2d(in_channels, 2 * in_channels, kernel_size=3, stride=2, padding=1),
        nn.InstanceNorm2d(2 * in_channels),
        nn.ReLU(inplace=True),
    ]


def _upsampling(in_channels: int, kind: str) -> list[nn.Module]:
    """u: a 3x3 convolution to twice the size and half the channels."""
    out_channels = in_channels // 2
    convolution: nn.Module
    if kind == "transposed":
        convolution = nn.ConvTranspose2d(
            in_channels, out_channels, kernel_size=3, stride=2, padding=1, output_padding=1
        )
    elif kind == "resize":
        convolution = ResizeConvolution(in_channels, out_channels)
    else:
        raise ValueError(f"upsampling is {kind!r}; expected 'transposed' or 'resize'.")
    return [convolution, nn.InstanceNorm2d(out_channels), nn.ReLU(inplace=True)]


class ResnetGenerator(nn.Module):
    """The generator of Zhu et al. 2017 (arXiv:1703.10593, appendix 7.2), after Johnson 2016.

    c7s1-F, d2F, d4F, `blocks` x R4F, u2F, uF, c7s1-out, tanh, with F = `features`. Every
    convolution has a bias, also before instance norm where it has no effect: so had the earlier
    system, whose baseline counts 7,825,153 parameters (F 64, 6 blocks, one channel).

    Args:
        in_channels: number of slices that go in.
        out_channels: number of slices that come out.
        features: F.
        blocks: 6 up to 128 x 128, 9 above in the paper.
        upsampling: "transposed" convolutions (the paper) or "resize" convolutions (Odena et al.
            2016, doi:10.23915/distill.00003); both have the same number of parameters.
    """

    def __init__(
        self, *, in_channels: int, out_channels: int, features: int, blocks: int, upsampling: str
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            RowConvolution(in_channels, features),
            nn.InstanceNorm2d(features),
            nn.ReLU(inplace=True),
            *_downsampling(features),
            *_downsampling(2 * features),
        )
        self.blocks = nn.Sequential(*[ResidualBlock(4 * features) for _ in range(blocks)])
        self.decoder = nn.Sequential(
            *_upsampling(4 * features, upsampling),
            *_upsampling(2 * features, upsampling),
            RowConvolution(features, out_channels),
            nn.Tanh(),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Translate (batch, channel, height, width) in [-1, 1] to the same size in [-1, 1].

        A height or width that is no multiple of 4 is reflected at the far edge up to the next one
        and cut off again. Both are at least 5.
        """
        height, width = image.shape[2], image.shape[3]
        output: Tensor = self.decoder(self.blocks(self.encoder(pad_far_edges(image, 4))))
        # Padding by less than nothing, not a slice: torch.export takes a slice for a claim that
        # something is always cut off, and its program refuses multiples of 4.
        return functional.pad(output, [0, width - output.shape[3], 0, height - output.shape[2]])


class PatchDiscriminator(nn.Module):
    """The PatchGAN C64-C128-C256-C512-1 of Isola et al. 2017 (at `features` 64), MONAI's layers.

    Args:
        in_channels: number of slices that are judged together.
        features: channels of the first layer.
        downsamplings: number of stride-2 layers. 3 is the published one, each decision sees
            70 x 70 pixels; 4 is the earlier system's, whose C512 has stride 2 too and whose
            decisions see 94 x 94. Both have 2,762,689 parameters (64 features, one channel).
        normalization: "instance", or "spectral": every convolution's weight divided by its
            greatest singular value, in place of instance norm (Miyato et al. 2018,
            arXiv:1802.05957).
    """

    def __init__(
        self, *, in_channels: int, features: int, downsamplings: int, normalization: str
    ) -> None:
        super().__init__()
        if downsamplings not in (3, 4):
            raise ValueError(f"downsamplings is {downsamplings}; expected 3 or 4.")
        if normalization not in ("instance", "spectral"):
            raise ValueError(f"normalization is {normalization!r}; expected instance or spectral.")
        network = MonaiPatchDiscriminator(
            spatial_dims=2,
            in_channels=in_channels,
            channels=features,
            num_layers_d=3,
            norm="INSTANCE" if normalization == "instance" else None,
            bias=True,
        )
        self.downsamplings = downsamplings
        if downsamplings == 4:
            network.get_submodule("2.conv").stride = (2, 2)
        # MONAI's forward returns the features of every layer; in a sequence the decision is left.
        self.layers = nn.Sequential(OrderedDict(network.named_children()))
        if normalization == "spectral":
            _normalise_spectrally(self.layers)

    def forward(self, image: Tensor) -> Tensor:
        """Judge (batch, channel, height, width) in [-1, 1]; returns decisions (batch, 1, h, w)."""
        decision: Tensor = self.layers(image)
        return decision


def _normalise_spectrally(network: nn.Module) -> None:
    """Normalise every convolution.

    The power iteration starts from random vectors and from the weights as they are now, so both
    are drawn alike each time.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
                spectral_norm(module)


def initialise_weights(network: Network, *, standard_deviation: float, seed: int) -> Network:
    """Draw every convolution's weights from N(0, standard_deviation), set its biases to 0.

    Drawn on the CPU, so that a seed gives the same network on every device.

    Returns:
        The network itself, so that a config can wrap its definition.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            weight = torch.empty(module.weight.shape)
            weight.normal_(0.0, standard_deviation, generator=generator)
            with torch.no_grad():
                _find_weight(module).copy_(weight)
                if module.bias is not None:
                    module.bias.zero_()
    return network


def _find_weight(module: Any) -> Tensor:
    """A convolution's parameter, also where its weight is computed from it."""
    is_computed = hasattr(module, "parametrizations")
    weight: Tensor = module.parametrizations.weight.original if is_computed else module.weight
    return weight
