"""What a slice dataset holds of each session, and which sessions a human should look at first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

BINS = 64  # of an intensity density on [0, 1]
# Tukey's "far out": beyond the quartiles by three times their distance. Fewer than five values
# say nothing about which of them is unusual.
FAR_OUT, ENOUGH = 3.0, 5
NATIVE_T1W, NATIVE_T2W, REGISTERED = ("T1w", "native"), ("T2w", "native"), ("T2w", "T1w")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One shard: where it lies and what its JSON says."""

    file: Path
    side: dict[str, Any]
    slices: int
    training_slices: int

    def load_images(self) -> npt.NDArray[np.uint16]:
        """Map the images, (slice, i, j), 65535 for an intensity of 1."""
        images: npt.NDArray[np.uint16] = np.load(self.file, mmap_mode="r")
        return images

    def load_masks(self) -> npt.NDArray[np.uint8]:
        """Map the masks, (slice, i, j) of 0 and 1."""
        masks: npt.NDArray[np.uint8] = np.load(
            self.file.with_name(f"{self.file.stem}_mask.npy"), mmap_mode="r"
        )
        return masks


@dataclass(frozen=True)
class SessionSummary:
    """One session of one subject.

    Attributes:
        series: its shards by (contrast, space).
        brain_volume_cm3: of the T1w mask, or of the T2w mask where there is no T1w.
        densities: intensities inside the mask by contrast, 64 bins on [0, 1], mean 1.
        registration: what the registration wrote, or None.
        remarks: reasons to look at this session first.
    """

    dataset: str
    subject_id: str
    session: str
    split: str
    series: Mapping[tuple[str, str], Series]
    brain_volume_cm3: float
    densities: Mapping[str, Floats]
    registration: Mapping[str, Any] | None
    remarks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Subject and session."""
        return " ".join(filter(None, (self.subject_id, self.session)))

    def count(self, contrast: str, space: str) -> int:
        """Slices of one contrast in one space."""
        series = self.series.get((contrast, space))
        return series.slices if series else 0

    @property
    def training_slices(self) -> int:
        """Slices on their own grid that training may draw."""
        own = (self.series.get(NATIVE_T1W), self.series.get(NATIVE_T2W))
        return sum(series.training_slices for series in own if series)


def summarise_session(dataset_dir: Path, rows: pd.DataFrame) -> SessionSummary:
    """Read the shards of one session.

    Args:
        dataset_dir: folder of the slice dataset.
        rows: the session's rows of slices.parquet.
    """
    series = {
        (str(contrast), str(space)): load_series(dataset_dir, part)
        for (contrast, space), part in rows.groupby(["contrast", "space"])
    }
    first = rows.iloc[0]
    registered = series.get(REGISTERED)
    own = {key[0]: one for key, one in series.items() if key != REGISTERED}
    return SessionSummary(
        dataset=first["dataset"],
        subject_id=first["subject_id"],
        session=first["session"],
        split=first["split"],
        series=series,
        brain_volume_cm3=compute_brain_volume_cm3(next(iter(sorted_by_contrast(series)))),
        densities={contrast: compute_density(one) for contrast, one in own.items()},
        registration=registered.side.get("registration") if registered else None,
    )


def load_series(dataset_dir: Path, rows: pd.DataFrame) -> Series:
    """Read what is known of one shard from its rows and its JSON."""
    file = dataset_dir / rows["shard"].iloc[0]
    side = json.loads(file.with_suffix(".json").read_text())
    drawn = rows["train"] & (rows["split"] == "train")
    return Series(file, side, slices=len(rows), training_slices=int(drawn.sum()))


def sorted_by_contrast(series: Mapping[tuple[str, str], Series]) -> list[Series]:
    """T1w first, each on its own grid before the registered one."""
    return [series[key] for key in (NATIVE_T1W, NATIVE_T2W, REGISTERED) if key in series]


def compute_brain_volume_cm3(series: Series) -> float:
    """Voxels of the mask times the volume of one."""
    voxel_mm3 = abs(np.linalg.det(np.asarray(series.side["affine"], dtype=float)[:3, :3]))
    return float(series.load_masks().sum(dtype=np.int64) * voxel_mm3 / 1000)


def compute_density(series: Series) -> Floats:
    """Density of the intensities inside the mask: 64 bins on [0, 1], mean 1."""
    inside = series.load_images()[series.load_masks() > 0]
    counts = np.bincount(inside // (65536 // BINS), minlength=BINS)
    return counts / counts.mean()


def compute_far_out(values: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Which values are far from the rest; none where there are fewer than five."""
    numbers = np.asarray(values, dtype=float)
    if len(numbers) < ENOUGH:
        return np.zeros(len(numbers), dtype=bool)
    low, high = np.percentile(numbers, [25, 75])
    reach = FAR_OUT * (high - low)
    return (numbers < low - reach) | (numbers > high + reach)


def add_remarks(sessions: Iterable[SessionSummary]) -> list[SessionSummary]:
    """Say what is unusual about each session; the most unusual come first."""
    sessions = list(sessions)
    remarks = [registration_remarks(one.registration) for one in sessions]
    for dataset in {one.dataset for one in sessions}:
        members = [i for i, one in enumerate(sessions) if one.dataset == dataset]
        for i, remark in find_unusual(sessions, members):
            remarks[i].append(remark)
    marked = [replace(one, remarks=tuple(r)) for one, r in zip(sessions, remarks, strict=True)]
    return sorted(marked, key=lambda one: (-len(one.remarks), one.dataset, one.label))


def find_unusual(
    sessions: Sequence[SessionSummary], members: Sequence[int]
) -> Iterator[tuple[int, str]]:
    """Yield members of a dataset that differ from the rest, and in what."""
    volumes = [sessions[i].brain_volume_cm3 for i in members]
    for i in np.asarray(members)[compute_far_out(volumes)].tolist():
        yield i, f"brain volume far from the median of {np.median(volumes):.0f} cm³"
    for contrast in ("T1w", "T2w"):
        for i in find_unusual_densities(sessions, members, contrast):
            yield i, f"{contrast} intensities unlike those of the other sessions"
    for name, unit in (("translation_mm", "mm"), ("rotation_degrees", "degrees")):
        lengths = {i: compute_length(sessions[i].registration, name) for i in members}
        known = {i: length for i, length in lengths.items() if length is not None}
        for i, far in zip(known, compute_far_out(list(known.values())), strict=True):
            if far:
                yield i, f"registered by {known[i]:.1f} {unit}, unlike the other sessions"


def compute_length(registration: Mapping[str, Any] | None, name: str) -> float | None:
    """How far a registration moves or turns, be it given as a number or as a vector."""
    value = registration.get(name) if registration else None
    return None if value is None else float(np.linalg.norm(np.atleast_1d(value)))


def registration_remarks(registration: Mapping[str, Any] | None) -> list[str]:
    """The registration's own flags, as sentences."""
    return [str(flag) for flag in registration.get("flags", ())] if registration else []


def find_unusual_densities(
    sessions: Sequence[SessionSummary], members: Sequence[int], contrast: str
) -> list[int]:
    """Members whose density is far from the median density of their dataset."""
    having = [i for i in members if contrast in sessions[i].densities]
    if not having:
        return []
    densities = np.stack([sessions[i].densities[contrast] for i in having])
    distances = np.abs(densities - np.median(densities, axis=0)).mean(axis=1) / 2  # in [0, 1]
    return [i for i, far in zip(having, compute_far_out(distances.tolist()), strict=True) if far]
