"""What a synthetic value of 0 and of 1 are stored as: fixed numbers, or a real scan's own scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.checksums import compute_checksum
from scripts.errors import find_cause
from scripts.nifti import SUFFIXES


@dataclass(frozen=True)
class OutputScale:
    """Linear scale of the stored intensities.

    Attributes:
        lowest: what 0 is stored as.
        largest: what 1 is stored as.
        dtype: NumPy name of the stored type.
        reference: name and sha256 of the scan whose scale it is; None for fixed numbers.
    """

    lowest: float
    largest: float
    dtype: str
    reference: dict[str, str] | None = None

    @property
    def width(self) -> float:
        """What a difference of 1 is stored as."""
        return self.largest - self.lowest

    def describe(self) -> dict[str, Any]:
        """Return what the side-car says of it."""
        return {"range": [self.lowest, self.largest], "reference": self.reference}

    def apply(self, values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Scale values in [0, 1]."""
        scaled: NDArray[np.floating[Any]] = self.lowest + self.width * values
        return scaled


def choose_reference_method(
    *, method: str | None, brain_extraction: str, reference: str | None
) -> str:
    """Return the brain extraction of the reference: its own, or that of the input.

    Args:
        method: of the reference, see ``extract_brain``; None takes that of the input.
        brain_extraction: of the input.
        reference: the scan; None where there is none.

    Raises:
        ValueError: a mask file would be used that was given for the input.
    """
    if method is not None:
        return str(method)
    if reference is not None and str(brain_extraction).endswith(SUFFIXES):
        raise ValueError(
            f"{Path(brain_extraction).name} is the brain mask of the input, not of the reference "
            f"{Path(reference).name}. Say how that is masked with --reference_brain_extraction: "
            "auto, hd-bet, deepbet, none or a mask file of its own."
        )
    return str(brain_extraction)


def choose_scale(
    *,
    largest_value: int,
    reference: str | None,
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
) -> OutputScale:
    """Return int16 from 0 to a largest value, or the scale of a real scan of the target contrast.

    Args:
        largest_value: what 1 is stored as without a reference; 1 to 32767.
        reference: NIfTI whose percentiles inside the brain become what 0 and 1 are stored as, in
            float32: the inverse of what training did to real scans. None for no reference.
        preprocessing: finds those percentiles, and checks that it is of the target contrast.

    Raises:
        ValueError: a largest value that int16 cannot hold, or a reference that cannot be used.
    """
    if reference is None:
        if not 1 <= int(largest_value) <= np.iinfo(np.int16).max:
            raise ValueError(f"largest_value is {largest_value}; expected 1 to 32767, for int16.")
        return OutputScale(0.0, float(largest_value), "int16")
    try:
        low, high = preprocessing({"image": reference})["image"].meta["percentiles"]
    except RuntimeError as error:  # MONAI's, around what was wrong
        raise ValueError(
            f"The reference cannot be used. {find_cause(error)} (The reference is masked by "
            "--reference_brain_extraction.)"
        ) from error
    file = {"File": Path(reference).name, "SHA256": compute_checksum(Path(reference))}
    return OutputScale(float(low), float(high), "float32", file)
