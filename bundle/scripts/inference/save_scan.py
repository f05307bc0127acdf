"""Write what was made of one scan, the side-car last: where it is, all is there."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray

from scripts.directions import SOURCE_OF_DIRECTION, TARGET_OF_DIRECTION
from scripts.in_memory import StretchIntensityd
from scripts.inference.mosaic import save_mosaic
from scripts.inference.output_folder import OutputFolder
from scripts.inference.output_scale import OutputScale
from scripts.inference.side_car import Provenance, describe_dataset, describe_synthetic
from scripts.nifti_output import save_volume
from scripts.report.comparison_figure import scale_by_percentiles
from scripts.whole_files import write_text

Array = NDArray[Any]

logger = logging.getLogger(__name__)

LARGEST_OF_EIGHT_BITS = 255


class SaveScand(MapTransform):
    """Write synthetic volumes on their input's own grid, with a side-car that says what they are.

    Args:
        keys: one key, a MetaTensor (1, x, y, z) in [0, 1] on the axes of the input's file.
        mask_key: brain on the same axes; its meta data name the method.
        source_key: the input in RAS+ at its own resolution, whose meta data name its file.
        uncertainty_key: disagreement in the unit of the first key; may be missing.
        outputs: which files are written, and where.
        scale: what 0 and 1 are stored as.
        provenance: what the side-car says of the run.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_key: str,
        source_key: str,
        uncertainty_key: str,
        outputs: OutputFolder,
        scale: OutputScale,
        provenance: Provenance,
    ) -> None:
        super().__init__(keys)
        self.mask_key = mask_key
        self.source_key = source_key
        self.uncertainty_key = uncertainty_key
        self.outputs = outputs
        self.scale = scale
        self.provenance = provenance

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the outputs of one scan.

        In a program that brings no picture of it, such as MONAI Label, nothing is written: that
        program gets whole numbers from 0 to 255, since its clients may ask for eight bits.
        """
        result = dict(data)
        if self.source_key not in result:
            logger.debug("no %s: another program takes the result", self.source_key)
            return StretchIntensityd(self.keys, largest_value=LARGEST_OF_EIGHT_BITS)(result)
        file = Path(result[self.source_key].meta["filename_or_obj"])
        source = str(result.get("source", file.name))
        paths = self.outputs.paths(source)
        with self.outputs.begin(source):
            # First gone and last there: a side-car vouches for what lies beside it.
            paths["side_car"].unlink(missing_ok=True)
            self._write_volumes(paths, result)
            if "mosaic" in paths:
                self._write_mosaic(paths["mosaic"], source, result)
            if is_bids(source):
                self.outputs.describe_dataset(describe_dataset(self.provenance))
            self._write_side_car(paths["side_car"], source, result)
        return result

    def _write_volumes(self, paths: Mapping[str, Path], result: dict[Hashable, Any]) -> None:
        synthetic, mask = (_as_array(result[key]) for key in (self.keys[0], self.mask_key))
        if "mask" in paths:
            self._write_volume(paths["mask"], mask > 0, result, "uint8")
        if "uncertainty" in paths:
            spread = _as_array(result[self.uncertainty_key]) * self.scale.width
            self._write_volume(paths["uncertainty"], spread, result, self.scale.dtype)
        # Outside the brain 0, whatever the darkest value of a reference is.
        stored = np.where(mask > 0, self.scale.apply(synthetic), 0)
        self._write_volume(paths["synthetic"], stored, result, self.scale.dtype)

    def _write_volume(
        self, path: Path, values: Array, result: dict[Hashable, Any], dtype: str
    ) -> None:
        source = Path(result[self.source_key].meta["filename_or_obj"])
        affine = result[self.keys[0]].affine.numpy()
        save_volume(values, path, source=source, affine=affine, dtype=dtype)

    def _write_side_car(self, path: Path, source: str, result: dict[Hashable, Any]) -> None:
        content = describe_synthetic(
            self.provenance,
            source=source,
            checksum=str(result.get("checksum", "")),
            brain_extraction=str(result[self.mask_key].meta["brain_extraction"]),
            messages=result.get("messages", []),
        )
        write_text(path, json.dumps(content, indent=4) + "\n")

    def _write_mosaic(self, path: Path, source: str, result: dict[Hashable, Any]) -> None:
        direction = self.outputs.direction
        synthetic, mask = (_as_upright(result[key]) for key in (self.keys[0], self.mask_key))
        image: MetaTensor = result[self.source_key]
        inside = mask > 0
        rows = {
            SOURCE_OF_DIRECTION[direction]: scale_by_percentiles(_as_array(image), inside),
            f"synthetic {TARGET_OF_DIRECTION[direction]}": synthetic,
        }
        if "uncertainty" in self.outputs.paths(source):
            spread = _as_upright(result[self.uncertainty_key])
            rows["uncertainty x 5"] = np.clip(5 * spread, 0, 1)
        spacing_mm = [float(size) for size in image.pixdim]
        title = f"{source}: synthetic, not a measurement"
        save_mosaic(path, rows=rows, mask=inside, spacing_mm=spacing_mm, title=title)


def is_bids(source: str) -> bool:
    """Whether a path below the input folder is that of an image in a BIDS dataset."""
    parts = Path(source).parts
    return len(parts) > 2 and parts[0].startswith("sub-") and parts[-2] == "anat"


def _as_array(volume: MetaTensor) -> Array:
    return volume[0].cpu().numpy()


def _as_upright(volume: MetaTensor) -> Array:
    """Return a volume on its file's axes as (x, y, z) in RAS+."""
    image = nib.Nifti1Image(_as_array(volume).astype(np.float32), volume.affine.numpy())
    return np.asarray(nib.as_closest_canonical(image).dataobj)
