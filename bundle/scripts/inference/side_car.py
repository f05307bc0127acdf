"""What stands beside a synthetic volume: where it comes from, and that it is not a measurement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.checksums import compute_sha256
from scripts.config_options import is_on
from scripts.config_references import load_config
from scripts.directions import TARGET_OF_DIRECTION, check_direction
from scripts.inference.generators import list_ensemble
from scripts.inference.output_names import format_output_stem, remove_ending
from scripts.inference.output_scale import OutputScale
from scripts.nifti import SUFFIXES

SENTENCE = (
    "Synthetic {contrast} image, made by a neural network from the image named in Sources. It is "
    "not a measurement: structures may be missing, altered or invented. Research only."
)


@dataclass(frozen=True)
class Provenance:
    """What all synthetic volumes of one run share.

    Attributes:
        direction: of the translation.
        models: name and sha256 of every file of weights.
        software: name and version of the bundle.
        parameters: how it was made.
    """

    direction: str
    models: tuple[dict[str, str], ...]
    software: dict[str, str]
    parameters: dict[str, Any]


def collect_provenance(
    *,
    direction: str,
    checkpoint: str,
    ensemble_dirs: Sequence[str] | str | None,
    metadata: str,
    brain_extraction: str,
    scale: OutputScale,
    parameters: Mapping[str, Any],
) -> Provenance:
    """Read what the side-cars will say.

    Args:
        direction: of the translation.
        checkpoint: file of the generator's weights.
        ensemble_dirs: folders of further generators.
        metadata: the bundle's `metadata.json`.
        brain_extraction: method that is asked for, or a mask file.
        scale: of the stored intensities.
        parameters: further ones as chosen for this run.
    """
    about = load_config(metadata)
    files = [Path(checkpoint), *list_ensemble(ensemble_dirs, direction)]
    models = tuple({"File": path.name, "SHA256": compute_sha256(path)} for path in files)
    software = {"Name": about["name"], "Version": about["version"]}
    chosen = {name: _read_word(value) for name, value in parameters.items()}
    chosen["brain_extraction"] = _describe_method(str(brain_extraction))
    chosen["intensities"] = scale.describe()
    return Provenance(check_direction(direction), models, software, chosen)


def _describe_method(method: str) -> str:
    """Return a method's name, or name and checksum of a mask file."""
    if not method.endswith(SUFFIXES):
        return method
    return f"{Path(method).name} (sha256 {compute_sha256(method)})"


def _read_word(value: Any) -> Any:
    """Read true and false, of which the command line makes words."""
    return is_on(value) if str(value).lower() in ("true", "false") else value


def describe_synthetic(
    provenance: Provenance,
    *,
    source: str,
    checksum: str,
    brain_extraction: str,
    messages: Sequence[str],
) -> dict[str, Any]:
    """Return the content of a side-car, in the keys of BIDS derivatives where it has some."""
    contrast = TARGET_OF_DIRECTION[provenance.direction]
    return {
        "Description": SENTENCE.format(contrast=contrast),
        "Sources": [source],
        "SourceSHA256": checksum,
        "SkullStripped": True,
        "GeneratedBy": [provenance.software],
        "SyntheticDirection": provenance.direction,
        "Models": list(provenance.models),
        "Parameters": provenance.parameters,
        "BrainMask": brain_extraction,
        "Warnings": list(messages),
    }


def describe_dataset(provenance: Provenance) -> dict[str, Any]:
    """Return BIDS' description of a folder of synthetic volumes."""
    contrast = TARGET_OF_DIRECTION[provenance.direction]
    return {
        "Name": f"Synthetic {contrast} images",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [provenance.software],
    }


def load_side_car(path: Path) -> dict[str, Any]:
    """Read a side-car; ValueError that names the file when it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path.name}: damaged ({error}). Replace it and the outputs beside "
            "it with --overwrite true."
        ) from error
    return dict(content)


def read_scale_and_mask(volume: Path) -> tuple[tuple[float, float], Path]:
    """Find what a synthetic volume says of itself by the files that inference wrote beside it.

    Returns:
        What 0 and 1 are stored as, and the file of the brain mask.

    Raises:
        FileNotFoundError: side-car or mask are missing.
        ValueError: the side-car is damaged, or not of inference.
    """
    side_car = volume.with_name(f"{remove_ending(volume.name)}.json")
    if not side_car.is_file():
        raise FileNotFoundError(
            f"{side_car}: missing; it says how {volume.name} is scaled. Expected a synthetic "
            "volume where inference wrote it."
        )
    content = load_side_car(side_car)
    try:
        low, high = content["Parameters"]["intensities"]["range"]
        source, direction = content["Sources"][0], content["SyntheticDirection"]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"{side_car}: found {error!r}; expected a side-car of inference."
        ) from error
    stem = format_output_stem(source, direction, description="brain").name
    mask = volume.with_name(f"{stem}.nii.gz")
    if not mask.is_file():
        raise FileNotFoundError(f"{mask}: missing. Run inference anew without --mask false.")
    return (float(low), float(high)), mask


def differs(known: dict[str, Any], provenance: Provenance) -> bool:
    """Whether a side-car tells of other models or parameters than this run's."""
    found = (known.get("Models"), known.get("Parameters"))
    return found != (list(provenance.models), provenance.parameters)
