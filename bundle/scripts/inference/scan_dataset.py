"""Scans, prepared for the network one after the other; what cannot be used does not end the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai.data import Dataset

from scripts.checksums import compute_checksum
from scripts.errors import EXPECTED, find_cause
from scripts.inference.input_checks import InputRefusedError
from scripts.inference.outcomes import OTHER_SETTINGS, Outcome
from scripts.inference.output_folder import OutputFolder
from scripts.inference.scan_warnings import collect_warnings
from scripts.inference.scans import Scan
from scripts.inference.side_car import Provenance, differs, load_side_car

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedScan:
    """A scan as the network sees it.

    Attributes:
        source: path of the input below the input folder.
        data: what the preprocessing gives, MetaTensors (1, height, width, slices).
        messages: what was warned about.
        seconds: that it took.
    """

    source: str
    data: dict[str, Any]
    messages: list[str]
    seconds: float


class ScanDataset(Dataset):
    """Prepares scans; gives the outcome in place of a scan that needs no work or cannot be used.

    Args:
        data: rows with ``image`` and ``source``.
        transform: preprocessing, as other programs look for it.
        checked_transform: the same, with checks of the input; this is what runs.
        outputs: knows what is there already.
        provenance: of this run, to tell outputs of another one.
    """

    def __init__(
        self,
        data: Sequence[Scan],
        transform: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        checked_transform: Callable[[dict[str, Any]], dict[str, Any]],
        outputs: OutputFolder,
        provenance: Provenance,
    ) -> None:
        super().__init__(data, transform)
        self.checked_transform = checked_transform
        self.outputs = outputs
        self.provenance = provenance

    def _transform(self, index: int) -> PreparedScan | Outcome:
        scan = self.data[index]
        source, start = scan["source"], time.perf_counter()
        with collect_warnings() as messages:
            try:
                checksum = compute_checksum(Path(scan["image"]))
                if existing := self._find_existing(source, checksum):
                    return existing
                data = self.checked_transform({**scan, "checksum": checksum})
            except Exception as error:
                seconds = time.perf_counter() - start
                return describe_failure(source, self.outputs.direction, error, seconds)
        return PreparedScan(source, data, messages, time.perf_counter() - start)

    def _find_existing(self, source: str, checksum: str) -> Outcome | None:
        """Outcome of a scan whose outputs stay as they are; None where there is work.

        Raises:
            ValueError: the outputs belong to another input of that name.
            FileExistsError: they are somebody else's.
        """
        paths = self.outputs.paths(source)
        if self.outputs.overwrite:
            return None
        if not paths["side_car"].is_file():
            self._check_place(source)
            return None
        found = load_side_car(paths["side_car"])
        if found.get("SourceSHA256") != checksum:
            raise ValueError(
                f"{paths['side_car'].name} tells of another {source}, or of an earlier state of "
                "it. Name another --output_dir, or replace its outputs with --overwrite true."
            )
        output = paths["synthetic"].relative_to(self.outputs.root).as_posix()
        outcome = Outcome(source, self.outputs.direction, "exists", output)
        if differs(found, self.provenance):
            return replace(outcome, message=OTHER_SETTINGS)
        return outcome if self.outputs.is_complete(source) else None

    def _check_place(self, source: str) -> None:
        """Raise FileExistsError where files lie in the outputs' place that no run has made."""
        if foreign := self.outputs.find_foreign(source):
            side_car = self.outputs.paths(source)["side_car"].name
            raise FileExistsError(
                f"{', '.join(path.name for path in foreign)}: already there, without a {side_car} "
                "that would say that it is of this bundle. Name another --output_dir, or replace "
                "it with --overwrite true."
            )


def take_only(batch: Sequence[PreparedScan | Outcome]) -> PreparedScan | Outcome:
    """Return the one element of a batch."""
    (only,) = batch
    return only


def describe_failure(source: str, direction: str, error: Exception, seconds: float) -> Outcome:
    """Outcome of a scan that has no output; a fault of the program is logged in full."""
    cause = find_cause(error)
    status = "refused" if isinstance(cause, InputRefusedError) else "failed"
    text = str(cause)
    if not isinstance(cause, EXPECTED):
        logger.error("%s: unexpected fault", source, exc_info=error)
        text = f"{type(cause).__name__}: {cause}"
    return Outcome(source, direction, status, seconds=seconds, message=text)
