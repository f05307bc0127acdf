"""What is watched of a training, and what ends it."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image
from scripts.checkpoints import list_checkpoints
from scripts.handlers import LastValidation, LossAverages, when_due, when_validated
from scripts.image_panels import choose_fullest_slices, make_panel, turn_upright
from scripts.slice_tables import SliceImage
from scripts.tuning.pruning import ReportValidations
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training_runs import find_error, make_workflow, train

IMAGES = ("real_t1w", "fake_t2w", "reconstructed_t1w", "real_t2w", "fake_t1w", "reconstructed_t2w")


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory, dataset_dir: Path) -> EventAccumulator:
    """Two epochs of three steps, then a third after a resume, which is validated as the last."""
    output_dir = tmp_path_factory.mktemp("out")
    train(dataset_dir, output_dir, max_epochs=2, val_interval=2)
    train(dataset_dir, output_dir, max_epochs=3, val_interval=2, resume=True)
    accumulator = EventAccumulator(str(output_dir / "tensorboard"), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def make_engine(losses: list[float], epoch_length: int) -> Engine:
    """Return an engine whose iterations give these values as their only loss."""
    values = iter(losses)
    engine = Engine(lambda *_: [{"generator_loss": torch.tensor(next(values)), "fake": None}])
    engine.state.epoch_length = epoch_length
    return engine


def test_every_scalar_of_the_earlier_system_is_there(events: EventAccumulator) -> None:
    tags = set(events.Tags()["scalars"])
    losses = {"generator_loss", "discriminator_t1w_loss", "discriminator_t2w_loss"}
    for name in ("adversarial_loss", "cycle_consistency_loss", "identity_loss"):
        losses |= {f"{name}_t1w", f"{name}_t2w"}
    assert {f"training/{name}" for name in losses} <= tags
    figures = {f"{name}_{figure}" for name in ("t1w", "t2w") for figure in ("ssim", "psnr")}
    assert {f"{part}/{name}" for part in ("training", "validation") for name in figures} <= tags
    assert "training/learning_rate" in tags


def test_scalars_stand_at_their_iteration_also_after_a_resume(events: EventAccumulator) -> None:
    steps = [point.step for point in events.Scalars("training/generator_loss")]
    assert steps == [2, 3, 4, 6, 8, 9]  # every second, and each epoch's last
    for name in ("training", "validation"):
        assert [point.step for point in events.Scalars(f"{name}/t2w_ssim")] == [6, 9]


def test_a_study_is_told_of_the_last_epoch_too_and_that_it_is_the_last() -> None:
    engine, told = Engine(lambda *_: None), []
    evaluator: Any = SimpleNamespace(state=SimpleNamespace(metrics={"t2w_ssim": 0.5}))

    def judge(epoch: int, figures: Any, size: int, is_last: bool) -> bool:
        told.append((epoch, is_last))
        return False

    ReportValidations(evaluator=evaluator, interval=2, generators={}, judge=judge).attach(engine)
    engine.run(range(1), max_epochs=5)
    assert told == [(2, False), (4, False), (5, True)]


def test_the_last_epoch_is_kept_too_where_no_interval_ends_with_it(
    events: EventAccumulator,
) -> None:
    kept = (Path(events.path).parent / "best").glob("epoch_*")
    assert sorted(path.name for path in kept) == ["epoch_0002", "epoch_0003"]


@pytest.mark.parametrize(
    ("interval", "validated"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (9, [5])]
)
def test_each_validation_comes_once_and_the_last_epoch_has_one(
    interval: int, validated: list[int]
) -> None:
    """As every handler sees it, and as MONAI's handler and the one beside it do together."""
    engine, seen, run = Engine(lambda *_: None), [], []
    evaluator: Any = SimpleNamespace(run=run.append)
    engine.add_event_handler(
        Events.EPOCH_COMPLETED(every=interval), lambda engine: run.append(engine.state.epoch)
    )
    LastValidation(evaluators=[evaluator], interval=interval).attach(engine)
    engine.add_event_handler(when_validated(interval), lambda: seen.append(engine.state.epoch))
    engine.run(range(2), max_epochs=5)
    assert seen == run == validated


def test_panels_show_both_cycles_in_training_and_validation(events: EventAccumulator) -> None:
    for tag, rows in (("training/real_fake_cycle", 4), ("validation/real_fake_cycle", 2)):
        picture = Image.open(io.BytesIO(events.Images(tag)[-1].encoded_image_string))
        assert picture.size == (3 * 128, rows * 128)  # batch of two, one validation subject
        assert np.asarray(picture).min() == 0


def test_a_panel_lies_in_the_unit_range_and_keeps_the_intensities() -> None:
    images = {name: torch.full((2, 1, 4, 6), -1.0) for name in IMAGES}
    images["fake_t2w"][0] = 0.0
    images["reconstructed_t2w"][0] = 1.5  # beyond the range is cut, not wrapped
    panel = make_panel(images, count=1)
    assert panel.shape == (1, 2 * 6, 3 * 4)
    blocks = panel[0].reshape(2, 6, 3, 4).mean(dim=(1, 3))
    torch.testing.assert_close(blocks, torch.tensor([[0.0, 0.5, 0.0], [0.0, 0.0, 1.0]]))


def test_the_nose_is_up_and_the_right_is_right() -> None:
    image = torch.zeros(1, 3, 4)
    image[0, 2, 3] = 1.0  # the most right, the most forward
    assert turn_upright(image)[0].nonzero().tolist() == [[0, 2]]  # top row, last column


def test_the_centre_of_three_slices_is_shown() -> None:
    images = {
        name: torch.stack([torch.full((4, 4), float(n)) for n in (-1, 0, 1)]) for name in IMAGES
    }
    panel = make_panel({name: image[None] for name, image in images.items()}, count=3)
    assert torch.equal(panel, torch.full((1, 8, 12), 0.5))


def test_panels_show_the_fullest_slice_of_each_subject() -> None:
    slices = [make_slice(subject, fraction) for subject in "abcd" for fraction in (0.1, 0.4, 0.2)]
    assert choose_fullest_slices(slices, count=2) == [1, 7]
    assert choose_fullest_slices(slices, count=9) == [1, 4, 7, 10]
    assert choose_fullest_slices([], count=2) == []


def make_slice(subject_id: str, brain_fraction: float) -> SliceImage:
    return SliceImage(subject_id, "", subject_id, "d", "T1w", "x.npy", (0,), 0, brain_fraction)


def test_losses_are_averaged_between_two_readings() -> None:
    engine = make_engine([1.0, 2.0, 6.0, 4.0, 5.0], epoch_length=5)
    LossAverages(interval=2).attach(engine)
    seen: list[float] = []
    engine.add_event_handler(
        when_due(2), lambda: seen.append(engine.state.losses["generator_loss"])
    )
    engine.run(range(5))
    assert seen == [1.5, 5.0, 5.0]


def test_a_loss_that_is_no_number_ends_training_before_a_checkpoint(
    tmp_path: Path, dataset_dir: Path
) -> None:
    workflow = make_workflow(dataset_dir=str(dataset_dir), output_dir=str(tmp_path), max_epochs=3)
    trainer = workflow.parser.get_parsed_content("train#trainer")

    def poison(engine: Any) -> None:
        if engine.state.epoch == 2:
            with torch.no_grad():
                next(engine.generators.t1w_to_t2w.parameters()).fill_(float("nan"))

    trainer.add_event_handler(Events.EPOCH_STARTED, poison)
    with pytest.raises(RuntimeError) as error:
        workflow.run()
    message = find_error(error)
    assert "FloatingPointError: Iteration 4:" in message
    assert "generator_loss, discriminator_t2w_loss is not a finite number" in message
    assert "Nothing was saved of it: go on with --resume true" in message
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint_00000003.pt"]


def test_a_terminated_engine_with_sound_losses_ends_quietly(
    tmp_path: Path, dataset_dir: Path
) -> None:
    workflow = make_workflow(dataset_dir=str(dataset_dir), output_dir=str(tmp_path))
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda engine: engine.terminate())
    workflow.run()
    assert trainer.state.iteration == 2


def test_the_progress_bar_tells_speed_losses_and_figures(
    tmp_path: Path,
    dataset_dir: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    train(dataset_dir, tmp_path, max_epochs=1, progress=True)
    bar = capsys.readouterr().err
    assert "6/6" in bar
    assert "image/s" in bar or "s/image" in bar
    assert "epoch 1/1, generators " in bar
    assert "Epoch 1: t2w_ssim " in caplog.text
    assert "best t2w_ssim" in caplog.text
