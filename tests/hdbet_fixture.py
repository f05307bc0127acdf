"""A tiny HD-BET: a parameter folder of nnU-Net whose weights are constructed, not trained.

Its network marks what is brighter than the mean of a patch: a mask whose place is known.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import sys
import warnings
from pathlib import Path

import matplotlib
import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch

PATCH = (24, 32, 40)  # z, y, x: nnU-Net's order
TARGET_SPACING_MM = (1.0, 1.0, 1.0)

ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 3,
        "features_per_stage": [4, 8, 16],
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * 3,
        "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        "n_conv_per_stage": [1, 1, 1],
        "n_conv_per_stage_decoder": [1, 1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def _resampling(name: str, order: int) -> dict[str, object]:
    options = {"is_seg": name == "seg", "order": order, "order_z": 0, "force_separate_z": None}
    return {
        f"resampling_fn_{name}": "resample_data_or_seg_to_shape",
        f"resampling_fn_{name}_kwargs": options,
    }


PLANS = {
    "dataset_name": "Dataset001_Tiny",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "label_manager": "LabelManager",
    "experiment_planner_used": "ExperimentPlanner",
    "foreground_intensity_properties_per_channel": {"0": {}},
    "configurations": {
        "3d_fullres": {
            "data_identifier": "nnUNetPlans_3d_fullres",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": list(PATCH),
            "spacing": list(TARGET_SPACING_MM),
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            **_resampling("data", 3),
            **_resampling("seg", 1),
            **_resampling("probabilities", 1),
            "batch_dice": False,
            "architecture": ARCHITECTURE,
        }
    },
}

DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "brain": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


def build_network() -> torch.nn.Module:
    """The network that ARCHITECTURE says; only its first channel is used, at full resolution.

    Logits are plus and minus the normalised intensity: positive above the patch's mean.
    """
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    network = get_network_from_plans(
        ARCHITECTURE["network_class_name"],
        ARCHITECTURE["arch_kwargs"],
        ARCHITECTURE["_kw_requires_import"],
        input_channels=1,
        output_channels=2,
        deep_supervision=False,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        skip_channel = 4  # after the four channels that come up from below
        for block, source in (
            (network.encoder.stages[0][0].convs[0], 0),
            (network.decoder.stages[-1].convs[0], skip_channel),
        ):
            block.conv.weight[0, source, 1, 1, 1] = 1.0
            block.norm.weight[0] = 1.0
        # Lifted above 0, what follows is linear; the next normalisation takes it away again.
        network.encoder.stages[0][0].convs[0].norm.bias[0] = 20.0
        network.decoder.seg_layers[-1].weight[:, 0, 0, 0, 0] = torch.tensor([-1.0, 1.0])
    return network


def build_checkpoint(trainer: str = "nnUNetTrainer") -> dict[str, object]:
    """What nnU-Net's trainer saves: beside tensors, settings, a device and numpy's scalars."""
    return {
        "network_weights": build_network().state_dict(),
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "grad_scaler_state": None,
        "logging": {"train_losses": [np.float32(-0.5)], "ema_fg_dice": [np.float64(0.9)]},
        "_best_ema": np.float64(0.9),
        "current_epoch": 1,
        "init_args": {
            "plans": PLANS,
            "configuration": "3d_fullres",
            "fold": "all",
            "dataset_json": DATASET,
            "device": torch.device("cuda"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }


def extract_in_worker(path: str) -> dict[str, object]:
    """Extract a brain as a worker process does, and tell what that changed in the process."""
    from scripts.brain_extraction import extract_brain

    before = observe_process()
    mask, used = extract_brain(nib.load(path), "hd-bet")
    return {
        "mask": mask,
        "used": used,
        "daemon": multiprocessing.current_process().daemon,
        "process": os.getpid(),
        "changed": [name for name, value in observe_process().items() if value != before[name]],
    }


def observe_process() -> dict[str, object]:
    """What a library could change for everything else in the process."""
    return {
        "stdout": id(sys.stdout),
        "stderr": id(sys.stderr),
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "random state": torch.get_rng_state().tolist(),
        "numpy's random state": np.random.get_state(legacy=False)["state"]["key"].tolist(),  # noqa: NPY002
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "matplotlib's backend": matplotlib.get_backend(auto_select=False),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "itk threads": sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(),
    }


class Harmful:
    """An object whose unpickling makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def write_files(folder: Path, checkpoint: object, plans: object = PLANS) -> Path:
    """Write the three files of a parameter folder; the checkpoint is any object."""
    (folder / "fold_all").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    torch.save(checkpoint, folder / "fold_all" / "checkpoint_final.pth")
    return folder


def compute_pin(folder: Path) -> str:
    """The sha256 of a folder's checkpoint, as the user would pin it."""
    return hashlib.sha256((folder / "fold_all" / "checkpoint_final.pth").read_bytes()).hexdigest()
