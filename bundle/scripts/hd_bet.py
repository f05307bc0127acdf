"""HD-BET (Isensee 2019, doi:10.1002/hbm.24750), used where it is installed with its weights.

HD-BET 2 is a network of nnU-Net. Its predictor is built here as HD-BET builds it, but in memory,
in one process, and from weights that were verified before they were opened.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from scripts.hd_bet_weights import (
    CHECKPOINT,
    Weights,
    find_weights,
    read_pins,
    read_weights,
    verify_weights,
)

logger = logging.getLogger(__name__)


def is_available() -> bool:
    """Whether HD-BET is installed, has weights, and their checksum is pinned."""
    folder = find_weights()
    if find_spec("HD_BET") is None or not (folder / CHECKPOINT).is_file():
        return False
    if CHECKPOINT not in read_pins(folder):
        _warn_of_missing_pin(folder)
        return False
    return True


@lru_cache(maxsize=8)
def _warn_of_missing_pin(folder: Path) -> None:
    """Say once that weights are there and not used."""
    logger.warning(
        "%s: HD-BET's weights are there, but nothing vouches for them, so they are not used. Set "
        "HDBET_SHA256 to the checksum of %s.",
        folder,
        CHECKPOINT,
    )


def describe() -> str:
    """What decides the mask: releases, and a checksum of the weights; they are verified.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: HD-BET is not installed, or its weights are not the pinned ones.
    """
    _check_installed()
    checksum = verify_weights(find_weights())
    return f"hd-bet {version('HD_BET')} nnunetv2 {version('nnunetv2')} sha256:{checksum}"


def _check_installed() -> None:
    if find_spec("HD_BET") is None:
        raise ValueError(
            "HD-BET is not installed. Install it as docs/README.md of the bundle says under "
            "Inference, or use brain_extraction deepbet."
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep to this block what nnU-Net changes for the whole process.

    Importing it sets environment variables and matplotlib's backend, building a network draws
    random numbers, predicting sets torch's threads (and leaves them, when it fails) and cuDNN's
    benchmark mode, and all of it prints.
    """
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    environment = dict(os.environ)
    # No compiling, as HD-BET has it, and in the resampling this many threads instead of 8.
    os.environ.update({"nnUNet_compile": "F", "nnUNet_def_n_proc": str(threads)})
    said = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(said),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        logger.debug("nnU-Net: %s", said.getvalue().strip())


def load_predictor() -> Any:
    """HD-BET's predictor, built once a process.

    Raises:
        FileNotFoundError: no weights there.
        ValueError: HD-BET is not installed, or its weights are not the pinned ones.
    """
    _check_installed()
    folder = find_weights()
    return _build_predictor(folder, verify_weights(folder))


@lru_cache(maxsize=1)
def _build_predictor(folder: Path, checksum: str) -> Any:
    """Build the predictor of weights; other weights in the same folder have another checksum."""
    weights = read_weights(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _undisturbed():
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        # As in HD_BET.hd_bet_prediction.get_hdbet_predictor, without test-time augmentation,
        # which takes eight times as long.
        predictor = nnUNetPredictor(
            tile_step_size=0.5,
            use_gaussian=True,
            use_mirroring=False,
            perform_everything_on_device=True,
            device=device,
            allow_tqdm=False,
        )
        _initialize(predictor, weights)
    return predictor


def _initialize(predictor: Any, weights: Weights) -> None:
    """Do what ``initialize_from_trained_model_folder`` of nnU-Net does, from verified weights.

    That one opens the checkpoint as a pickle of anything, and looks for the class of its trainer by
    importing all trainers, of which one needs torchvision. The network does not depend on it.
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    checkpoint = weights.checkpoint
    plans = PlansManager(weights.plans)
    configuration = plans.get_configuration(checkpoint["init_args"]["configuration"])
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        determine_num_input_channels(plans, configuration, weights.dataset),
        plans.get_label_manager(weights.dataset).num_segmentation_heads,
        deep_supervision=False,
    )
    network.load_state_dict(checkpoint["network_weights"])
    predictor.manual_initialization(
        network,
        plans,
        configuration,
        [checkpoint["network_weights"]],
        weights.dataset,
        checkpoint["trainer_name"],
        checkpoint.get("inference_allowed_mirroring_axes"),
    )


def extract_brain(image: nib.Nifti1Image) -> NDArray[np.bool_]:
    """Mask by HD-BET of a volume (x, y, z) in RAS+; about 2 minutes on a CPU (read).

    Raises:
        FileNotFoundError: no weights there.
        ValueError: HD-BET is not installed, or its weights are not the pinned ones.
    """
    predictor = load_predictor()
    # What nnU-Net's SimpleITKIO reads from a file: (channel, z, y, x), spacing along z, y, x.
    voxels = np.transpose(np.asarray(image.dataobj, dtype=np.float32))[np.newaxis]
    spacing = [float(value) for value in image.header.get_zooms()[:3]][::-1]
    with _undisturbed():
        labels = predictor.predict_single_npy_array(voxels, {"spacing": spacing})
    return np.transpose(np.asarray(labels)) > 0
