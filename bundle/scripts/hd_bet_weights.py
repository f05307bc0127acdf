"""HD-BET's weights: where they lie, and whether they are the ones that were vouched for.

They are a pickle that others publish, so their checksum is compared with a pin before they are
opened, and what is opened may hold tensors and plain values only. A pin comes from
``HDBET_SHA256``, or from the file that ``data_prep fetch_weights`` writes beside the weights. That
file says that nothing has changed since the download, not that the download was right; a checksum
that the user has from elsewhere can say both.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import pydoc
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.checksums import compute_sha256_once

# Where HD-BET 2 itself looks; HDBET_WEIGHTS names another folder.
DEFAULT_FOLDER = Path("~/hd-bet_params/release_2.0.0")
CHECKPOINT = "fold_all/checkpoint_final.pth"
PLANS = "plans.json"
DATASET = "dataset.json"
FILES = (CHECKPOINT, PLANS, DATASET)  # all that is opened
PINS = "weights.sha256.json"

# nnU-Net calls what its plans name, whatever it is: these packages hold layers and networks only.
PACKAGES_OF_LAYERS = ("torch.nn.", "dynamic_network_architectures.")
# Its checkpoints also hold figures of the training, as numpy's scalars of these kinds. Before
# numpy 2 they were pickled under another name.
SCALARS = (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
UNPICKLE_SCALAR: Any = np.float64(0).__reduce__()[0]
SAFE_GLOBALS: list[Any] = [
    np.dtype,
    UNPICKLE_SCALAR,
    (UNPICKLE_SCALAR, "numpy.core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in SCALARS),
]


@dataclass(frozen=True)
class Weights:
    """Content of a parameter folder of nnU-Net."""

    plans: dict[str, Any]
    dataset: dict[str, Any]
    checkpoint: dict[str, Any]


def find_weights() -> Path:
    """Folder in which the weights are looked for: ``HDBET_WEIGHTS``, or where HD-BET looks."""
    return Path(os.environ.get("HDBET_WEIGHTS") or DEFAULT_FOLDER).expanduser()


def read_pins(folder: Path) -> dict[str, str]:
    """The sha256 that files must have, by name; ``HDBET_SHA256`` comes before the pin file.

    Raises:
        ValueError: the pin file is damaged.
    """
    path = folder / PINS
    try:
        pins = dict(json.loads(path.read_text())["files"]) if path.is_file() else {}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: not a list of checksums ({error!r}). Expected "
            f'{{"files": {{"{CHECKPOINT}": SHA256}}}}: delete it and set HDBET_SHA256 instead.'
        ) from error
    if explicit := os.environ.get("HDBET_SHA256", "").strip():
        pins[CHECKPOINT] = explicit
    return {str(name): str(pin).lower() for name, pin in pins.items()}


def verify_weights(folder: Path) -> str:
    """Compare the files with their pins, without opening them as what they are.

    Cheap once it was called: checksums are kept while size and time of a file stay the same.

    Returns:
        One sha256 that stands for all files.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the checkpoint has no pin, or a checksum differs.
    """
    pins = read_pins(folder)
    found = {}
    for name in FILES:
        _check_present(folder, name)
        found[name] = compute_sha256_once(folder / name)
        _check_pin(folder / name, found[name], pins.get(name, ""), needed=name == CHECKPOINT)
    return hashlib.sha256("".join(found.values()).encode()).hexdigest()


def read_weights(folder: Path) -> Weights:
    """Open the files of a folder, each only when its bytes have the pinned checksum.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a checksum differs, or a file holds what weights do not need.
    """
    pins = read_pins(folder)
    plans, dataset = (_read_json(folder, name, pins) for name in (PLANS, DATASET))
    _check_layers(plans, folder / PLANS)
    return Weights(plans, dataset, _read_checkpoint(folder, pins))


def _check_present(folder: Path, name: str) -> None:
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"HD-BET: no weights at {folder / name}. Get them with the project's python -m "
            "data_prep fetch_weights, name their folder in HDBET_WEIGHTS, or use brain_extraction "
            "deepbet."
        )


def _check_pin(path: Path, found: str, pin: str, *, needed: bool) -> None:
    if (pin or needed) and found != pin:
        raise ValueError(
            f"HD-BET: {path} has sha256 {found}. Expected {pin or 'a pinned one'}: set "
            "HDBET_SHA256 to the checksum of a checkpoint that you trust, or move the folder away "
            "and get the weights again."
        )


def _read_json(folder: Path, name: str, pins: dict[str, str]) -> dict[str, Any]:
    _check_present(folder, name)
    content = (folder / name).read_bytes()
    _check_pin(folder / name, hashlib.sha256(content).hexdigest(), pins.get(name, ""), needed=False)
    return dict(json.loads(content))


def _read_checkpoint(folder: Path, pins: dict[str, str]) -> dict[str, Any]:
    """Load through the handle whose bytes were compared, so that no other file can slip in."""
    _check_present(folder, CHECKPOINT)
    path = folder / CHECKPOINT
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        _check_pin(path, found, pins.get(CHECKPOINT, ""), needed=True)
        file.seek(0)
        try:
            with torch.serialization.safe_globals(SAFE_GLOBALS):
                return dict(torch.load(file, map_location="cpu", weights_only=True))
        except pickle.UnpicklingError as error:
            held = re.findall(r"GLOBAL ([\w.]+)", str(error)) or [type(error).__name__]
            raise ValueError(
                f"HD-BET: {path} was not opened, as it holds {held[0]}. Expected tensors and "
                "plain values only: use brain_extraction deepbet."
            ) from error


def is_layer(target: str) -> bool:
    """Whether a dotted name is a layer or network of those packages, not reached through them."""
    if not target.startswith(PACKAGES_OF_LAYERS):
        return False
    if find_spec(target.partition(".")[0]) is None:
        return True  # nothing of it can be called where it is not installed
    found = pydoc.locate(target)
    return (
        isinstance(found, type)
        and issubclass(found, torch.nn.Module)
        and found.__module__.startswith(tuple(name.rstrip(".") for name in PACKAGES_OF_LAYERS))
    )


def _check_layers(plans: dict[str, Any], path: Path) -> None:
    """ValueError where the plans have nnU-Net import and call anything but layers."""
    for name, configuration in plans.get("configurations", {}).items():
        architecture = configuration.get("architecture")
        if architecture is None:  # written before 2024: nnU-Net then chooses the classes itself
            continue
        options = architecture["arch_kwargs"]
        called = [options[key] for key in architecture["_kw_requires_import"]]
        for target in (architecture["network_class_name"], *called):
            if target is not None and not is_layer(str(target)):
                raise ValueError(
                    f"HD-BET: {path} builds {name} from {target!r}. Expected classes of "
                    f"{' and '.join(PACKAGES_OF_LAYERS)}: these are not HD-BET's plans."
                )
