"""Where outputs go: their paths, whether they are there already, whether one can write at all."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.config_options import is_on
from scripts.directions import check_direction
from scripts.inference.output_names import format_output_stem
from scripts.whole_files import UNFINISHED, write_text

SUFFIX = ".nii.gz"


LEFTOVER_SECONDS = 3600


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files of writes that were killed an hour ago or more."""
    for path in folder.rglob(f"{UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):  # another job has just finished it
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


class OutputFolder:
    """Paths of what is written for a scan.

    Args:
        output_dir: folder; outputs lie below it as their inputs below the input folder.
        direction: of the translation.
        overwrite: whether existing outputs are replaced; else they stay and the scan is skipped.
        mask: whether the brain mask is written.
        mosaic: whether a picture is written.
        uncertainty: whether the disagreement of several passes is written.
    """

    def __init__(
        self,
        output_dir: str,
        *,
        direction: str,
        overwrite: bool,
        mask: bool,
        mosaic: bool,
        uncertainty: bool,
    ) -> None:
        self.root = Path(str(output_dir))
        self.direction = check_direction(direction)
        self.overwrite = is_on(overwrite)
        self.mask = is_on(mask)
        self.mosaic = is_on(mosaic)
        self.uncertainty = is_on(uncertainty)

    def check(self) -> None:
        """Make the folder and write to it once, before hours are spent.

        What writes that were killed have left is removed, if it is older than any write takes.

        Raises:
            OSError: it cannot be made or written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(prefix=UNFINISHED, dir=self.root):
                remove_leftovers(self.root)
        except OSError as error:
            raise OSError(
                f"{self.root}: cannot be written to ({error.strerror}). Name a folder of your own "
                "with --output_dir."
            ) from error

    def paths(self, source: str) -> dict[str, Path]:
        """Path of every file that is written for an input, by what it is."""
        synthetic = self.root / format_output_stem(source, self.direction, description="synthetic")
        found = {
            "synthetic": synthetic.with_name(synthetic.name + SUFFIX),
            "side_car": synthetic.with_name(synthetic.name + ".json"),
        }
        if self.mosaic:
            found["mosaic"] = synthetic.with_name(synthetic.name + ".png")
        for name, description in (("mask", "brain"), ("uncertainty", "uncertainty")):
            if getattr(self, name):
                stem = format_output_stem(source, self.direction, description=description)
                found[name] = self.root / f"{stem}{SUFFIX}"
        return found

    def is_complete(self, source: str) -> bool:
        """Whether every file of an input is there; each appears whole, the side-car last."""
        return all(path.is_file() for path in self.paths(source).values())

    @contextlib.contextmanager
    def begin(self, source: str) -> Iterator[None]:
        """Mark the outputs of an input as begun; the mark stays where the block is not ended.

        By it the files of a run that was killed are told from those of somebody else.
        """
        mark = self._mark(source)
        write_text(mark, "")
        yield
        mark.unlink(missing_ok=True)

    def find_foreign(self, source: str) -> list[Path]:
        """Files in the place of an input's outputs that no run has finished or begun."""
        paths = self.paths(source)
        if paths["side_car"].is_file() or self._mark(source).is_file():
            return []
        return [path for path in paths.values() if path.exists()]

    def _mark(self, source: str) -> Path:
        synthetic = self.paths(source)["synthetic"]
        return synthetic.with_name(f".{synthetic.name.removesuffix(SUFFIX)}.begun")

    def describe_dataset(self, description: dict[str, Any]) -> None:
        """Write BIDS' ``dataset_description.json``, unless there is one."""
        path = self.root / "dataset_description.json"
        if not path.exists():
            write_text(path, json.dumps(description, indent=4) + "\n")
