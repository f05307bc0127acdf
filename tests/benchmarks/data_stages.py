"""Seconds and memory of each stage of preparing a 1 mm pair, on one thread."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from data_prep.bids_inputs import BidsInputs, build_from_bids
from data_prep.build import BuildOptions
from data_prep.cluster import Workers
from data_prep.contrasts import as_nifti, like
from data_prep.dataset_options import DatasetOptions
from data_prep.phantom import build_phantom
from data_prep.registration import register_rigid, resample_to
from data_prep.slices import stack_slices
from data_prep.stages import DEFAULT_BUNDLE, load_stages
from tests.benchmarks.memory_watch import Usage, read_resident_gb, watched

METHOD = "deepbet"
T1W, T2W = "sub-01_T1w.nii.gz", "sub-01_T2w.nii.gz"


def measure_stages(folder: Path) -> dict[str, Usage]:
    """Every stage of one session, in the order of a build."""
    stages = load_stages(DEFAULT_BUNDLE, METHOD)
    usages: dict[str, Usage] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        with watched() as usages[name]:
            return step()

    anat = folder / "sub-01" / "anat"
    t1w = timed("reading T1w", lambda: stages.load_volume({"image": str(anat / T1W)}))
    t1w = timed("brain extraction by deepbet", lambda: stages.extract_brain(t1w))
    corrected = timed("N4 of T1w", lambda: stages.correct_bias(dict(t1w)))
    data = timed("resampling of T1w", lambda: stages.to_network(dict(corrected)))
    timed("cutting T1w into slices", lambda: stack_slices(data))
    t2w = stages.load_volume({"image": str(anat / T2W)})
    head, moving, mask = (as_nifti(v) for v in (t1w["image"], t2w["image"], t1w["brain_mask"]))
    found = timed("registration", lambda: register_rigid(head, moving, fixed_mask=mask))
    inverse = np.linalg.inv(found.matrix)
    carried = resample_to(moving, mask, inverse, interpolation="linear").get_fdata() >= 0.5
    t2w["brain_mask"] = like(t2w["image"], carried)
    moved = timed("N4 of T2w", lambda: stages.correct_bias(t2w))
    timed("moving T2w onto T1w", lambda: resample_to(
        head, as_nifti(moved["image"]), found.matrix, interpolation="linear"
    ))  # fmt: skip
    return usages


def simulate(folder: Path, *, subjects: int) -> None:
    """In a process of its own, whose memory ends with it."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as executor:
        step = partial(build_phantom, folder, subjects=subjects, seed=0, spacing_mm=1.0)
        executor.submit(step).result()


def measure_build(folder: Path, out: Path, subjects: list[str]) -> Usage:
    """A build of some subjects, one after the other in this process."""
    inputs = BidsInputs({"phantom": folder}, DatasetOptions({"phantom": METHOD}, (), {}), subjects)
    with watched() as usage:
        build_from_bids(out, inputs, BuildOptions(DEFAULT_BUNDLE, Workers(1)))
    return usage


def measure() -> list[dict[str, object]]:
    """Figures of the stages, of a session, and of whether memory grows with the sessions."""
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        simulate(root / "phantom", subjects=3)
        before = read_resident_gb()
        usages = measure_stages(root / "phantom")
        first = measure_build(root / "phantom", root / "one", ["01"])
        both = measure_build(root / "phantom", root / "two", ["02", "03"])
    condition = f"1 mm phantom, one thread of {os.cpu_count()} cores; {before:.2f} GB before"
    figures = [
        make_figure(f"preparing a session: {stage}", usage, condition)
        for stage, usage in usages.items()
    ]
    figures.append(make_figure("preparing a session: all of it", first, condition))
    return [
        *figures,
        {
            "name": "peak memory of two sessions over that of one",
            "value": round(both.peak_gb / first.peak_gb, 2),
            "unit": "times",
            "reference": f"1 where no stage holds more than one; {both.peak_gb:.2f} GB",
        },
    ]


def make_figure(name: str, usage: Usage, condition: str) -> dict[str, object]:
    return {
        "name": name,
        "value": round(usage.seconds, 1),
        "unit": "seconds",
        "reference": f"{condition}; peak {usage.peak_gb:.2f} GB",
    }
