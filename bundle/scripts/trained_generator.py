"""One trained generator and all that belongs to it: sizes, weights, and what it expects to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import nn

from scripts.checksums import compute_sha256
from scripts.config_references import load_config, resolve_references
from scripts.described_weights import are_described, leave_out_weights
from scripts.shipped_models import load_weights

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SIZES = ("features", "blocks", "upsampling", "slices")
FORMAT_OF_DIRECTION = {
    "t1w_to_t2w": "network_data_format",
    "t2w_to_t1w": "t2w_to_t1w_data_format",
}
SMALLEST_SIZE = 5  # pixels: 5 is padded to 8, which the encoder makes 2, and 1 cannot be reflected


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator in evaluation mode with its configs.

    Args:
        network: on the CPU, float32.
        checkpoint: file of its weights.
        config: inference.json with the sizes and the direction of this generator.
        metadata: metadata.json, whose `network_data_format` is that of this direction.
    """

    network: nn.Module
    checkpoint: Path
    config: dict[str, Any]
    metadata: dict[str, Any]

    @property
    def channels(self) -> int:
        """Number of slices that go in, and come out."""
        return int(self.config["slices"])


def adapt_metadata(
    metadata: Mapping[str, Any], config: Mapping[str, Any], models: Sequence[Path]
) -> dict[str, Any]:
    """Return the metadata of some weights.

    Args:
        metadata: content of metadata.json.
        config: content of inference.json, whose slices become the channels of the data formats.
        models: files of the weights; of others than the shipped ones nothing is said.
    """
    result = dict(metadata) if are_described(metadata, models) else leave_out_weights(metadata)
    for block in FORMAT_OF_DIRECTION.values():
        result[block] = {
            side: {
                name: entry
                | {
                    "num_channels": config["slices"],
                    "channel_def": {
                        str(number): entry["channel_def"]["0"] for number in range(config["slices"])
                    },
                }
                for name, entry in entries.items()
            }
            for side, entries in metadata[block].items()
        }
    return result


def load_generator(
    *, models_dir: str | None, checkpoint: str | None, options: Mapping[str, Any]
) -> TrainedGenerator:
    """Load the generator that inference would use.

    Args:
        models_dir: folder of the models; None takes that of inference.json.
        checkpoint: file of the weights; None takes that of the folder and the direction.
        options: direction and sizes; None takes what inference.json says.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: the weights are of another network, or the direction is unknown.
    """
    given = {name: value for name, value in options.items() if value is not None}
    config = load_config(CONFIGS / "inference.json") | given
    places = {"models_dir": models_dir, "checkpoint": checkpoint, "bundle_root": CONFIGS.parent}
    parser = ConfigParser(config | {name: str(place) for name, place in places.items() if place})
    path = Path(parser.get_parsed_content("checkpoint"))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file. Name one with --checkpoint.")
    network: nn.Module = parser.get_parsed_content("network_def")
    load_weights(network, path)
    metadata = adapt_metadata(load_config(CONFIGS / "metadata.json"), config, [path])
    metadata["network_data_format"] = metadata[FORMAT_OF_DIRECTION[config["direction"]]]
    return TrainedGenerator(network.eval(), path, config, metadata)


def describe_generator(generator: TrainedGenerator) -> dict[str, Any]:
    """Say what another program has to know to run a generator, as JSON."""
    config, metadata = generator.config, generator.metadata
    image = {"dtype": "float32", "value_range": [-1, 1]}
    return {
        "name": metadata["name"],
        "version": metadata["version"],
        "intended_use": metadata["intended_use"],
        "direction": config["direction"],
        "model_sha256": compute_sha256(generator.checkpoint),
        "sizes": {name: config[name] for name in SIZES},
        "input": {"name": "image", "shape": ["batch", config["slices"], "height", "width"]} | image,
        "output": {"name": "pred", "shape": ["batch", config["slices"], "height", "width"]} | image,
        "smallest_size": SMALLEST_SIZE,
        "sees": "slices that went through preprocessing, never those of a file as they are",
        "slice_distance_mm": config["slice_distance_mm"],
        "preprocessing": resolve_references(config, "preprocessing"),
    }
