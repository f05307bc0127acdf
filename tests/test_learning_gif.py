"""The moving picture of a training: what a frame shows, and what stops and resumes do to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from scripts import learning_gif
from scripts.datasets import read_image
from scripts.example_slices import Examples
from scripts.learning_frame import (
    BINS,
    GAP,
    LABEL_HEIGHT,
    TITLE_HEIGHT,
    compute_densities,
    compute_density,
    draw_frame,
)
from scripts.learning_gif import LearningGif, describe_moment, read_frames, thin_out
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import train

SIZE = 100  # of a panel, which is shown at twice that


def make_examples(seed: int = 0, *, size: int = SIZE) -> Examples:
    """Two examples of noise in the left half, a background of -1 in the right one."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(2, 1, size, size, dtype=torch.bool)
    mask[..., : size // 2, :] = True
    names = [f"{name}_{of}" for name in ("real", "fake", "reconstructed") for of in ("t1w", "t2w")]
    noise = (2 * torch.rand(mask.shape, generator=generator) - 1 for _ in names)
    images = {name: each.where(mask, -1.0) for name, each in zip(names, noise, strict=True)}
    return Examples(images=images, masks={"t1w": mask, "t2w": mask}, are_pairs=True)


def make_handler(output_dir: Path, *, subjects: int = 2, most_frames: int = 60) -> LearningGif:
    return LearningGif(
        output_dir=str(output_dir),
        val_interval=1,
        evaluator=SimpleNamespace(state=SimpleNamespace(metrics={"t2w_ssim": 0.5})),
        subjects=subjects,
        frame_ms=400,
        last_frame_ms=2000,
        most_frames=most_frames,
    )


def make_engine(iteration: int, *, rank: int = 0, size: int = SIZE) -> Any:
    examples = make_examples(iteration, size=size)
    return SimpleNamespace(
        state=SimpleNamespace(epoch=1, iteration=iteration, rank=rank, examples=examples)
    )


def read_gif(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Return the frames of a GIF, (height, width, 3), and how many ms each is shown."""
    frames, times_ms = [], []
    with Image.open(path) as gif:
        for frame in ImageSequence.Iterator(gif):
            frames.append(np.asarray(frame.convert("RGB")))
            times_ms.append(frame.info["duration"])
    return frames, times_ms


def read_rgb(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_each_validation_adds_a_frame_also_after_a_resume(
    tmp_path: Path, dataset_dir: Path
) -> None:
    for epochs in (2, 3):
        train(dataset_dir, tmp_path, max_epochs=epochs, resume=True, learning_gif_subjects=1)
    for contrast in ("t1w", "t2w"):
        frames, times_ms = read_gif(tmp_path / f"learning_{contrast}.gif")
        assert times_ms == [400, 400, 2000]
        stored = sorted((tmp_path / "learning").glob(f"{contrast}_*.png"))
        assert [path.stem[4:] for path in stored] == ["00000003", "00000006", "00000009"]
        for frame, path in zip(frames, stored, strict=True):
            np.testing.assert_array_equal(frame, read_rgb(path))
    with Image.open(tmp_path / "learning_t2w.gif") as gif:
        assert gif.info["loop"] == 0  # for ever


@pytest.mark.parametrize(
    ("contrast", "columns"),
    [
        ("t2w", ("real_t1w", "real_t2w", "fake_t2w", "reconstructed_t2w")),
        ("t1w", ("real_t2w", "real_t1w", "fake_t1w", "reconstructed_t1w")),
    ],
)
def test_a_frame_holds_the_images_to_rounding_the_head_upright(
    contrast: str, columns: tuple[str, ...]
) -> None:
    examples = make_examples()
    frame = np.asarray(draw_frame(examples, contrast, count=2, title="").convert("RGB"))
    side = 2 * SIZE
    for row in range(2):
        for column, name in enumerate(columns):
            image = np.rot90(examples.images[name][row, 0].numpy())
            expected = 255 * (image.repeat(2, 0).repeat(2, 1) + 1) / 2
            top = TITLE_HEIGHT + LABEL_HEIGHT + row * (side + GAP)
            left = GAP + column * (side + GAP)
            shown = frame[top : top + side, left : left + side]
            assert np.abs(shown - expected[..., None]).max() <= 1.2  # a half of 255 / 199, and of 1


def test_a_density_leaves_the_background_out() -> None:
    images = np.array([[0.1, 0.1, 0.9, 0.0]])
    density = compute_density(images, np.array([[True, True, True, False]]))
    expected = np.zeros(BINS)
    expected[int(0.1 * BINS)], expected[int(0.9 * BINS)] = BINS * 2 / 3, BINS / 3
    np.testing.assert_allclose(density, expected)
    np.testing.assert_array_equal(compute_density(images, np.zeros_like(images, dtype=bool)), 0)


def test_densities_are_those_of_the_brain_that_each_image_was_made_from() -> None:
    examples = make_examples()
    other = torch.zeros_like(examples.masks["t1w"])
    other[..., :20] = True
    examples.masks["t1w"] = other
    densities = compute_densities(examples, "t2w", count=2)
    for name, source in (("real", "t2w"), ("fake", "t1w"), ("reconstructed", "t2w")):
        values = (examples.images[f"{name}_t2w"][examples.masks[source]] + 1) / 2
        expected, _ = np.histogram(values.numpy(), bins=BINS, range=(0, 1), density=True)
        np.testing.assert_allclose(densities[name], expected)


def test_frames_beyond_the_checkpoint_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    handler = make_handler(tmp_path)
    for iteration in (3, 6, 9):
        handler(make_engine(iteration))
    for name in ("notes.png", "t1w_final.png", "t1w_00000012.txt"):
        (tmp_path / "learning" / name).write_text("mine")
    handler.remove_later_frames(make_engine(6))
    names = {path.name for path in (tmp_path / "learning").iterdir()}
    frames = {f"{contrast}_0000000{n}.png" for contrast in ("t1w", "t2w") for n in (3, 6)}
    assert names == frames | {"notes.png", "t1w_final.png", "t1w_00000012.txt"}


def test_a_kill_between_frame_and_gif_leaves_the_old_gif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = make_handler(tmp_path)
    handler(make_engine(3))
    before = (tmp_path / "learning_t1w.gif").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(learning_gif, "read_frames", stop_after_one)
        handler(make_engine(6))
    assert (tmp_path / "learning/t1w_00000006.png").is_file()
    assert (tmp_path / "learning_t1w.gif").read_bytes() == before
    handler(make_engine(9))
    assert len(read_gif(tmp_path / "learning_t1w.gif")[0]) == 3
    assert not list(tmp_path.rglob(".unfinished*"))


def stop_after_one(paths: list[Path], times_ms: list[int]) -> Iterator[Image.Image]:
    yield from read_frames(paths[:1], times_ms[:1])
    raise KeyboardInterrupt


def test_frames_that_are_damaged_or_of_another_size_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handler = make_handler(tmp_path)
    handler(make_engine(3))
    handler(make_engine(6, size=90))
    damaged = tmp_path / "learning/t1w_00000007.png"
    damaged.write_bytes((tmp_path / "learning/t1w_00000003.png").read_bytes()[:2000])
    handler(make_engine(9))
    assert len(read_gif(tmp_path / "learning_t1w.gif")[0]) == 2
    assert f"{damaged} is no frame of this training" in caplog.text
    assert "t1w_00000006.png is no frame of this training" in caplog.text


def test_without_pairs_training_slices_are_shown_each_with_its_own_mask(tmp_path: Path) -> None:
    folder = write_slice_dataset(tmp_path / "data", registered=False)
    options = {"val_interval": 5, "learning_gif_subjects": 1}
    workflow = train(folder, tmp_path / "out", max_epochs=1, **options)
    examples = workflow.parser.get_parsed_content("train#trainer").state.examples
    assert not examples.are_pairs
    slices = workflow.parser.get_parsed_content("train#dataset").data
    for name, candidates in (("t1w", slices.t1w), ("t2w", slices.t2w)):
        image, mask = examples.images[f"real_{name}"][0], examples.masks[name][0]
        assert any(
            torch.equal(image, found) and torch.equal(mask, its)
            for found, its in map(read_image, candidates)
        )
    for name in ("t1w", "t2w"):
        assert len(read_gif(tmp_path / f"out/learning_{name}.gif")[0]) == 1


def test_of_many_frames_as_many_as_wanted_are_chosen_evenly(tmp_path: Path) -> None:
    paths = [Path(str(number)) for number in range(9)]
    assert [path.name for path in thin_out(paths, most=5)] == ["0", "2", "4", "6", "8"]
    assert thin_out(paths, most=20) == paths
    handler = make_handler(tmp_path, most_frames=2)
    for iteration in (3, 6, 9):
        handler(make_engine(iteration))
    frames, times_ms = read_gif(tmp_path / "learning_t2w.gif")
    assert times_ms == [400, 2000]
    np.testing.assert_array_equal(frames[0], read_rgb(tmp_path / "learning/t2w_00000003.png"))


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    make_handler(tmp_path)(make_engine(3, rank=1))
    assert list(tmp_path.iterdir()) == []


def test_no_subjects_draw_no_pictures_and_no_images_no_panels(
    tmp_path: Path, dataset_dir: Path
) -> None:
    options = {"learning_gif_subjects": 0, "panel_images": 0}
    train(dataset_dir, tmp_path, max_epochs=1, epoch_length=1, **options)
    assert not list(tmp_path.glob("learning*"))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert "validation/t2w_ssim" in events.Tags()["scalars"]
    assert events.Tags()["images"] == []


def test_a_frame_says_when_it_was_drawn_and_what_was_measured() -> None:
    state = SimpleNamespace(epoch=4, iteration=1200)
    figures = {"t2w_ssim": 0.51234, "t2w_psnr": 17.26, "t2w_cycle_ssim": 0.8, "t1w_ssim": 0.1}
    assert describe_moment(state, "t2w", figures).split("    ") == [
        *("T2w, epoch 4, step 1200", "SSIM 0.512", "PSNR 17.3 dB", "SSIM of the cycle 0.800"),
    ]
    assert describe_moment(state, "t1w", {}) == "T1w, epoch 4, step 1200"
