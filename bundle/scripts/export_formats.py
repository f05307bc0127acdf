"""A generator as TorchScript, ONNX or a torch.export program, each with its description inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ckpt_export
from torch import Tensor, nn

from scripts.trained_generator import (
    CONFIGS,
    SMALLEST_SIZE,
    TrainedGenerator,
    describe_generator,
)
from scripts.whole_files import write_text

# The newest opset that torch 2.13's exporter writes without converting what it wrote.
ONNX_OPSET = 20
TRACED_SHAPE = (2, 34, 47)  # batch, height, width: no size is 1 or a multiple of 4
DESCRIPTION = "export.json"

Runner = Callable[[Tensor], Tensor]
Writer = Callable[[TrainedGenerator, Path], None]
Loader = Callable[[Path], Runner]


def format_description(generator: TrainedGenerator) -> str:
    """Describe a generator as a JSON text; its one key keeps apart from the keys of a config."""
    return json.dumps({"export": describe_generator(generator)}, indent=4) + "\n"


def write_torchscript(generator: TrainedGenerator, path: Path) -> None:
    """Write what MONAI's ckpt_export writes: metadata, inference config and description inside.

    The embedded configs are those of this generator, so that MONAI Deploy, which reads nothing
    else, meets its direction and sizes.
    """
    folder = path.parent / "configs"
    texts = {
        "metadata.json": json.dumps(generator.metadata),
        "inference.json": json.dumps(generator.config),
        "deploy.json": (CONFIGS / "deploy.json").read_text(encoding="utf-8"),
        DESCRIPTION: format_description(generator),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    logging.getLogger("monai.bundle.scripts").setLevel(logging.WARNING)  # it lists our own files
    ckpt_export(
        net_id="network_def",
        filepath=str(path),
        ckpt_file=str(generator.checkpoint),
        meta_file=str(folder / "metadata.json"),
        config_file=[str(folder / name) for name in texts if name != "metadata.json"],
    )


def write_onnx(generator: TrainedGenerator, path: Path) -> None:
    """Write ONNX of any batch, height and width; input `image`, output `pred`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # torchvision's operators are not here
    program: Any = torch.onnx.export(
        generator.network,
        (_make_images(generator, TRACED_SHAPE),),
        dynamo=True,
        input_names=["image"],
        output_names=["pred"],
        dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
        opset_version=ONNX_OPSET,
        verbose=False,
    )
    model = program.model_proto
    for node in model.graph.node:  # they hold lines and paths of the source
        del node.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = DESCRIPTION, format_description(generator)
    path.write_bytes(model.SerializeToString())


def write_torch_export(generator: TrainedGenerator, path: Path) -> None:
    """Write a torch.export program of any batch, height and width."""
    dimension = torch.export.Dim
    sizes = {
        0: dimension("batch"),
        2: dimension("height", min=SMALLEST_SIZE),
        3: dimension("width", min=SMALLEST_SIZE),
    }
    images = _make_images(generator, TRACED_SHAPE)
    program = torch.export.export(generator.network, (images,), dynamic_shapes=(sizes,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines and paths of the source
    torch.export.save(program, path, extra_files={DESCRIPTION: format_description(generator)})


def load_torchscript(path: Path) -> Runner:
    """Load what `write_torchscript` wrote."""
    return torch.jit.load(path, map_location="cpu")


def load_onnx(path: Path) -> Runner:
    """Load what `write_onnx` wrote, through onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["pred"], {"image": images.numpy()})[0])


def load_torch_export(path: Path) -> Runner:
    """Load what `write_torch_export` wrote."""
    network: nn.Module = torch.export.load(path).module()
    return network


def compute_largest_difference(
    generator: TrainedGenerator, runner: Runner, shapes: tuple[tuple[int, int, int], ...]
) -> float:
    """Compare an exported network with its origin.

    Args:
        generator: the origin.
        runner: maps (batch, slices, height, width) to the same shape.
        shapes: batch, height and width of the random images to compare on.

    Returns:
        The largest absolute difference, of outputs in [-1, 1].
    """
    differences: list[float] = []
    with torch.no_grad():
        for shape in shapes:
            images = _make_images(generator, shape)
            expected, found = generator.network(images), runner(images)
            if found.shape != expected.shape:
                raise ValueError(f"found {tuple(found.shape)}, expected {tuple(expected.shape)}.")
            differences.append(float((found - expected).abs().max()))
    return max(differences)


def _make_images(generator: TrainedGenerator, shape: tuple[int, int, int]) -> Tensor:
    batch, height, width = shape
    source = torch.Generator().manual_seed(0)
    return torch.rand(batch, generator.channels, height, width, generator=source) * 2 - 1


FORMATS: dict[str, tuple[Writer, Loader]] = {
    "torchscript": (write_torchscript, load_torchscript),
    "onnx": (write_onnx, load_onnx),
    "torch_export": (write_torch_export, load_torch_export),
}
