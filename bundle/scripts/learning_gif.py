"""A moving picture of a training: synthetic images of the same slices over the epochs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from PIL import Image

from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.handlers import when_validated
from scripts.learning_frame import NAMES, draw_frame
from scripts.report.numbers import format_number
from scripts.whole_files import open_whole

logger = logging.getLogger(__name__)

FRAMES_FOLDER = "learning"
SHOWN_FIGURES = {  # by their name in a validation, with decimals and unit
    "ssim": ("SSIM", 3, ""),
    "psnr": ("PSNR", 1, " dB"),
    "cycle_ssim": ("SSIM of the cycle", 3, ""),
}
# All that Pillow raises about a damaged file.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class LearningGif:
    """Adds a frame to `learning_t1w.gif` and `learning_t2w.gif` after each validation.

    Frames are kept as `learning/t2w_00000300.png`, by iteration, so that a training which goes on
    goes on with its pictures too; those from beyond its checkpoint are removed.

    Args:
        output_dir: folder of the run.
        val_interval: epochs between two validations.
        evaluator: whose figures stand above the images.
        subjects: rows of images; 0 for no pictures at all.
        frame_ms: time that a frame is shown.
        last_frame_ms: the same of the last one.
        most_frames: in a GIF; of more, as many are chosen evenly.
    """

    def __init__(
        self,
        *,
        output_dir: str,
        val_interval: int,
        evaluator: CycleGanEvaluator,
        subjects: int,
        frame_ms: int,
        last_frame_ms: int,
        most_frames: int,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.val_interval = val_interval
        self.evaluator = evaluator
        self.subjects = subjects
        self.frame_ms = frame_ms
        self.last_frame_ms = last_frame_ms
        self.most_frames = most_frames

    def attach(self, engine: Engine) -> None:
        """Act at the start and after validations; attach it behind ExampleSlices."""
        if self.subjects > 0:
            engine.add_event_handler(Events.STARTED, self.remove_later_frames)
            engine.add_event_handler(when_validated(self.val_interval), self)

    def remove_later_frames(self, engine: Engine) -> None:
        """Remove what an interrupted training drew beyond the checkpoint that it goes on from."""
        if engine.state.rank == 0:
            for contrast in NAMES:
                for path in list_frames(self.output_dir / FRAMES_FOLDER, contrast):
                    if parse_iteration(path) > engine.state.iteration:
                        path.unlink()

    def __call__(self, engine: Engine) -> None:
        """Draw the examples of the validation that has just been, and assemble both GIFs."""
        if engine.state.rank > 0:
            return
        for contrast in NAMES:
            title = describe_moment(engine.state, contrast, self.evaluator.state.metrics)
            frame = draw_frame(engine.state.examples, contrast, count=self.subjects, title=title)
            folder = self.output_dir / FRAMES_FOLDER
            with open_whole(folder / f"{contrast}_{engine.state.iteration:08d}.png") as file:
                frame.save(file, format="PNG")
            paths = thin_out(list_frames(folder, contrast), most=self.most_frames)
            self._assemble(paths, self.output_dir / f"learning_{contrast}.gif")

    def _assemble(self, paths: Sequence[Path], gif: Path) -> None:
        """Write the frames as one GIF that loops; the last of them is sound, since it is new."""
        times = [self.frame_ms] * (len(paths) - 1) + [self.last_frame_ms]
        frames = read_frames(paths, times)
        with open_whole(gif) as file:
            next(frames).save(file, format="GIF", save_all=True, append_images=frames, loop=0)


def list_frames(folder: Path, contrast: str) -> list[Path]:
    """Frames of a contrast, the oldest first."""
    paths = [path for path in folder.glob(f"{contrast}_*.png") if path.is_file()]
    return sorted((path for path in paths if path.stem[4:].isdecimal()), key=parse_iteration)


def parse_iteration(path: Path) -> int:
    """Return the iteration in the name of a frame."""
    return int(path.stem[4:])


def thin_out(paths: Sequence[Path], *, most: int) -> list[Path]:
    """Choose at most that many paths evenly, the first and the last among them."""
    numbers = np.linspace(0, len(paths) - 1, min(most, len(paths)))
    return [paths[number] for number in np.rint(numbers).astype(int)]


def read_frames(paths: Sequence[Path], times_ms: Sequence[int]) -> Iterator[Image.Image]:
    """Read frames one by one, and leave out what is damaged or of another size than the last.

    Pillow takes the time that a frame is shown from its `info`.
    """
    with Image.open(paths[-1]) as last:
        size = last.size
    for path, time_ms in zip(paths, times_ms, strict=True):
        try:
            with Image.open(path) as frame:
                if (frame.size, frame.mode) != (size, "P"):
                    raise ValueError(f"found {frame.size}, {frame.mode}; expected {size}, P")
                frame.load()
                frame.info = {"duration": time_ms}
                yield frame
        except UNREADABLE as error:
            logger.warning("%s is no frame of this training and left out: %s", path, error)


def describe_moment(state: Any, contrast: str, figures: Mapping[str, float]) -> str:
    """Say when a frame was drawn and what the validation found, as far as it measured anything."""
    words = [f"{NAMES[contrast]}, epoch {state.epoch}, step {state.iteration}"]
    for name, (label, decimals, unit) in SHOWN_FIGURES.items():
        if f"{contrast}_{name}" in figures:
            value = format_number(figures[f"{contrast}_{name}"], decimals)
            words.append(f"{label} {value}{unit}")
    return "    ".join(words)
