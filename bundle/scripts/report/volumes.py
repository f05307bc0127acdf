"""Volumes on the evaluation page: pictures of single slices, and what the viewer shows."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import numpy.typing as npt
from matplotlib import image as mpl_image

from scripts.preprocessing import AXCODES_OF_PLANE
from scripts.report.comparison_figure import MAX_ERROR, find_window, select_display_slices
from scripts.report.figures import compute_correlation, format_uri, plot_joint_histogram
from scripts.report.glossary import COMPARISONS, CONTRASTS, find_quantity
from scripts.report.numbers import format_number

PAIRED_ROLES = ("source", "real", "synthetic", "error", "cycle")
UNPAIRED_ROLES = ("source", "synthetic", "cycle")
VIEWER_PANELS = 4
COLOUR_STOPS = 17  # of the error's scale where it is drawn by the browser
ERROR_COLOURS = mpl.colormaps["inferno"]

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ShownVolumes:
    """The volumes of one session that the page shows.

    Attributes:
        comparison: direction.
        rank: why it is shown: "best", "median", "worst" or "only".
        name: subject, and session where there is one.
        reason: rank and figure in words, "" without pairs.
        plane: in which the slices lie.
        files: content of each NIfTI file by role.
        images: the same, uint8 (i, j, slice), i and j as they run in `AXCODES_OF_PLANE`.
    """

    comparison: str
    rank: str
    name: str
    reason: str
    plane: str
    files: dict[str, bytes]
    images: dict[str, Image]

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Where the source or its translation is not 0, (slice, i, j)."""
        inside = (self.images["source"] > 0) | (self.images["synthetic"] > 0)
        return np.moveaxis(inside, 2, 0)

    @property
    def first_slice(self) -> int:
        """Index of the slice that is shown first: half-way up the brain."""
        slices = select_display_slices(self.mask)
        return slices[len(slices) // 2]


def load_shown(evaluation_dir: Path, summary: Mapping[str, Any]) -> list[ShownVolumes]:
    """Read the volumes that `summary.json` names; without pairs, only what needs none."""
    paired = summary["paired"]
    return [_load_session(evaluation_dir, entry, paired=paired) for entry in summary["shown"]]


def _load_session(evaluation_dir: Path, entry: Mapping[str, Any], *, paired: bool) -> ShownVolumes:
    files, roles = entry["files"], PAIRED_ROLES if paired else UNPAIRED_ROLES
    paths = {role: evaluation_dir / files[role] for role in roles if role in files}
    images = {role: load_image(path) for role, path in paths.items()}
    return ShownVolumes(
        comparison=entry["comparison"],
        rank=entry["rank"],
        name=" ".join(filter(None, (entry["subject_id"], entry["session"]))),
        reason=_explain(entry) if paired else "",
        plane=find_plane(paths["source"]),
        files={role: path.read_bytes() for role, path in paths.items()},
        images=images,
    )


def _explain(entry: Mapping[str, Any]) -> str:
    quantity = find_quantity(entry["figure"])
    value = format_number(entry["value"], quantity.decimals)
    if entry["rank"] == "only":
        return f"the only session, {quantity.label} {value}"
    return f"{entry['rank']} by {quantity.label}, {value}"


def find_plane(path: Path) -> str:
    """Plane of the slices along a volume's last axis; ValueError for axes that no plane has."""
    axcodes = "".join(map(str, nib.aff2axcodes(nib.load(path).affine)))
    for plane, known in AXCODES_OF_PLANE.items():
        if axcodes == known:
            return plane
    raise ValueError(
        f"{path.name}: found axes {axcodes}; expected one of {AXCODES_OF_PLANE}. Evaluate again."
    )


def load_image(path: Path) -> Image:
    """Read an image of the evaluation, uint8 (i, j, slice).

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no unscaled 3-D volume of bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: summary.json names it, but it is gone. Evaluate again.")
    image = nib.load(path)
    is_unscaled = image.header.get_slope_inter() in ((None, None), (1.0, 0.0))
    if image.get_data_dtype() != np.uint8 or image.ndim != 3 or not is_unscaled:
        raise ValueError(
            f"{path.name}: found {image.get_data_dtype()} voxels of shape {image.shape}; expected "
            "three dimensions of unscaled uint8. Evaluate again."
        )
    return np.asarray(image.dataobj, dtype=np.uint8)


def name_roles(comparison: str) -> dict[str, str]:
    """What each volume of a direction is called."""
    source, target = CONTRASTS[comparison]
    return {
        "source": f"Source {source}",
        "real": f"Real {target}",
        "synthetic": f"Synthetic {target}",
        "error": "Absolute error",
        "cycle": f"{source} again, from the synthetic {target}",
    }


def make_pictures(shown: ShownVolumes) -> list[dict[str, str]]:
    """One slice of each volume, upright: front at the top, the patient's right on the right.

    Returns:
        One dict per picture with `caption`, `alt` and `uri`.
    """
    index, window = shown.first_slice, find_window(shown.mask)
    place = f"of {shown.name}, slice {index + 1} of {len(shown.mask)}"
    captions = name_roles(shown.comparison)
    return [
        {
            "caption": captions[role],
            "alt": f"{captions[role]} {place}",
            "uri": format_picture(np.rot90(image[..., index][window]), is_error=role == "error"),
        }
        for role, image in shown.images.items()
    ]


def format_picture(image: Image, *, is_error: bool) -> str:
    """Put (height, width) bytes into a data URI: grey, or the error's colours up to MAX_ERROR."""
    colours = ERROR_COLOURS if is_error else mpl.colormaps["gray"]
    shown = colours(image / 255 / (MAX_ERROR if is_error else 1.0), bytes=True)[..., :3]
    buffer = io.BytesIO()
    mpl_image.imsave(buffer, shown, format="webp", pil_kwargs={"lossless": True})
    return format_uri(buffer.getvalue(), "image/webp")


def make_joint_histograms(shown: Sequence[ShownVolumes]) -> list[dict[str, str]]:
    """One chart a direction over the shown sessions: `title` and `svg`."""
    charts = []
    for comparison, title in COMPARISONS.items():
        members = [one for one in shown if one.comparison == comparison and "real" in one.images]
        if not members:
            continue
        masks = [np.moveaxis(one.mask, 0, 2) for one in members]
        real, synthetic = (
            np.concatenate(
                [one.images[role][mask] for one, mask in zip(members, masks, strict=True)]
            )
            for role in ("real", "synthetic")
        )
        correlation = format_number(compute_correlation(real, synthetic), 3)
        charts.append(
            {
                "title": title,
                "svg": plot_joint_histogram(real, synthetic, comparison),
                "caption": f"{len(members)} sessions, {real.size:,} voxels: r = {correlation}",
            }
        )
    return charts


def describe_viewer(shown: Sequence[ShownVolumes]) -> dict[str, Any]:
    """What the viewer's script reads: sessions with their panels, and the error's colours."""
    return {
        "sessions": [_describe_session(one) for one in shown],
        "maxError": MAX_ERROR * 255,
        "errorColours": _list_colour_stops(),
        "plane": shown[0].plane if shown else "",
    }


def _describe_session(shown: ShownVolumes) -> dict[str, Any]:
    captions, direction = name_roles(shown.comparison), COMPARISONS[shown.comparison]
    roles = list(shown.images)[:VIEWER_PANELS]
    return {
        "label": f"{', '.join(filter(None, (direction, shown.reason)))}: {shown.name}",
        "name": shown.name,
        "slices": len(shown.mask),
        "first": shown.first_slice + 1,
        "panels": [
            {
                "caption": captions[role],
                "isError": role == "error",
                "volume": name_volume(shown.files[role]),
            }
            for role in roles
        ],
    }


def _list_colour_stops() -> dict[str, list[int]]:
    """The error's colours as NiiVue takes them."""
    places = np.linspace(0, 1, COLOUR_STOPS)
    red, green, blue, alpha = ERROR_COLOURS(places, bytes=True).T.tolist()
    return {"R": red, "G": green, "B": blue, "A": alpha, "I": np.rint(places * 255).tolist()}


def format_gradient() -> str:
    """The error's colours as a CSS gradient."""
    stops = ERROR_COLOURS(np.linspace(0, 1, COLOUR_STOPS), bytes=True)[:, :3].tolist()
    return (
        f"linear-gradient(to right, {', '.join('rgb({},{},{})'.format(*stop) for stop in stops)})"
    )


def name_volume(content: bytes) -> str:
    """Name of a volume in the page; equal volumes share one."""
    return f"volume-{hashlib.sha256(content).hexdigest()[:12]}"


def encode_volumes(shown: Sequence[ShownVolumes]) -> dict[str, str]:
    """Base64 of every file that the viewer shows, by its name in the page."""
    roles = [list(one.images)[:VIEWER_PANELS] for one in shown]
    files = [one.files[role] for one, names in zip(shown, roles, strict=True) for role in names]
    return {name_volume(content): base64.b64encode(content).decode() for content in files}
