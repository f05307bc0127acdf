"""Plans of an ablation: rows that build on rows, and what is refused before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser
from scripts import ablate
from scripts.ablation.plan import load_plan
from scripts.config_references import load_config

from tests.slice_dataset_fixture import write_slice_dataset
from tests.small_ablation import CONFIGS, GOALS, ROWS, load_small_plan, write_plan
from tests.training_runs import SMALL


def test_a_row_is_its_overlays_then_what_all_share_then_its_changes(tmp_path: Path) -> None:
    plan = load_small_plan(tmp_path)
    rows = {row.name: row for row in plan.rows}
    baseline, resize = rows["baseline"].overlay, rows["resize"].overlay
    assert (baseline["features"], baseline["decay_epochs"], baseline["pool_size"]) == (8, 0, 0)
    assert resize == {**baseline, "upsampling": "resize"}
    assert rows["default"].overlay == {"features": 8, "decay_epochs": 5}
    assert rows["paired"].overlay["lambda_paired"] == 10.0
    assert "_desc_" not in baseline
    assert rows["baseline"].seeds == (0, 1)


MIND = {"change": {"structure_loss": {"method": "mind"}, "lambda_structure": 2.0}}
NGF = {"from": "mind", "overlays": ["recipes/ngf.json"]}
LARGE = {"overlays": ["recipes/large.json"]}
BOTH = {"features": 8, "discriminator_features": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rows": {"mind": MIND, "ngf": NGF}},
            "ngf: recipes/ngf.json sets lambda_structure, structure_loss, but so does the change",
        ),
        (
            {"rows": {"mind": MIND, "ngf": {**NGF, "change": {"lambda_structure": 0.5}}}},
            "ngf.json sets structure_loss, but",
        ),
        (
            {"rows": {"large": LARGE}, "shortened": BOTH},
            "large.json has no effect, since shortened sets features, discriminator_features",
        ),
    ],
)
def test_an_overlay_that_something_overrules_in_silence_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_small_plan(tmp_path, goals=None, **changes)


def test_an_overlay_may_be_overruled_by_its_own_row_and_shortened_in_part(tmp_path: Path) -> None:
    own = {"lambda_structure": 0.5, "structure_loss": {"method": "ngf"}}
    rows = {"mind": MIND, "ngf": {**NGF, "change": own}, "large": LARGE}
    plan = load_small_plan(tmp_path, goals=None, rows=rows, shortened={"features": 8})
    found = {row.name: row.overlay for row in plan.rows}
    assert found["ngf"] == {**own, "features": 8}
    assert found["large"] == {"features": 8, "discriminator_features": 64}


def test_options_of_the_evaluation_are_those_of_evaluate_and_of_train(tmp_path: Path) -> None:
    evaluated = {"segmenter_steps": 7, "val_slice_step": 2, "figure_settings#stride": 8}
    assert load_small_plan(tmp_path, evaluated=evaluated).evaluated == evaluated


def test_first_seeds_come_first_on_every_dataset(tmp_path: Path) -> None:
    trainings = load_small_plan(tmp_path).list_trainings(
        [Path("a"), Path("b")], tmp_path, split="validation"
    )
    assert [(each.seed, each.dataset_dir.name, each.recipe) for each in trainings] == [
        *((0, fold, row) for fold in "ab" for row in ROWS),
        *((1, fold, row) for fold in "ab" for row in ("baseline", "default")),
    ]
    assert trainings[0].folder == tmp_path / "a" / "baseline" / "seed_0"
    assert trainings[-1].overlay["seed"] == 1


def test_the_test_part_is_evaluated_beside_validation_and_not_taken_for_done(
    tmp_path: Path,
) -> None:
    plan = load_small_plan(tmp_path)
    chosen, tested = (
        plan.list_trainings([Path("a")], tmp_path, split=split)[0]
        for split in ("validation", "test")
    )
    assert chosen.folder == tested.folder
    assert chosen.evaluation != tested.evaluation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "has no rows"),
        ({"row": {}}, "row is unknown"),
        ({"shortened": {"max_epocs": 3}}, "shortened: train.json has no id max_epocs"),
        ({"rows": {"a": {"change": {"lambda": 1}}}}, "a: train.json has no id lambda"),
        ({"rows": {"a": {"from": "b"}}}, "from 'b'. Expected a row above"),
        ({"rows": {"a": {"seeds": 0}}}, "seeds is 0"),
        ({"rows": {"a": {"changes": {}}}}, "changes is unknown"),
        ({"rows": {"a": {"overlays": ["recipes/none.json"]}}}, "no such config file"),
        ({"rows": {"inverted": {}}}, "inverted: tables have a row of this name"),
        ({"rows": {"real": {}}}, "real: tables have a row of this name"),
        ({"rows": {"../a": {}}}, "found '../a' as the name of a row"),
        ({"rows": {"a": {"change": {"validate#x": 1}}}}, "validate#x"),
        (
            {"evaluated": {"segmenter_step": 200}},
            r"evaluated: .* has an id segmenter_step \(did you mean segmenter_steps",
        ),
        ({"evaluated": {"evaluated_split": "test"}}, "evaluated_split is decided by the command"),
        ({"evaluated": {"evaluation_dir": "x"}}, "evaluation_dir is decided by the command"),
        ({"evaluated": ["precision"]}, "evaluated is .*Expected an object"),
        ({"goals": {"recipe": "default"}}, "goals: .*missing"),
        ({"goals": {**GOALS, "ceiling": "few"}}, "goals name few"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_small_plan(tmp_path, **changes)


def test_some_seeds_of_a_plan_can_be_taken(tmp_path: Path) -> None:
    plan = load_small_plan(tmp_path)
    rows = plan.select_seeds([1]).rows
    assert [(row.name, row.seeds) for row in rows] == [("baseline", (1,)), ("default", (1,))]
    with pytest.raises(ValueError, match=r"no row has seed 7. Found: \[0, 1\]"):
        plan.select_seeds([0, 7])


@pytest.mark.parametrize("seeds", ["0,one", "0.5"])
def test_seeds_are_whole_numbers(tmp_path: Path, seeds: str) -> None:
    load_small_plan(tmp_path)
    with pytest.raises(ValueError, match=f"--seeds {seeds}: expected different whole numbers"):
        ablate.run(
            plan=str(tmp_path / "plan.json"),
            dataset_dirs=str(tmp_path),
            output_dir=str(tmp_path / "out"),
            seeds=seeds,
        )


def test_the_shipped_plans_are_sound() -> None:
    for path in (CONFIGS / "ablation").glob("*.json"):
        plan = load_plan(path, CONFIGS)
        assert all(row.words for row in plan.rows), path.name
        assert plan.goals is not None


@pytest.mark.slow
def test_the_command_trains_every_row_once_and_writes_the_table(tmp_path: Path) -> None:
    data = write_slice_dataset(tmp_path / "data", labelled=True)
    keys = ("precision", "features", "blocks", "discriminator_features", "max_epochs")
    shortened = {key: SMALL[key] for key in (*keys, "epoch_length", "val_slice_step", "workers")}
    shortened |= {"val_interval": 1, "learning_gif_subjects": 0}
    plan = write_plan(
        tmp_path / "plan.json",
        rows={"baseline": ROWS["baseline"] | {"seeds": 1}, "default": {}, "paired": ROWS["paired"]},
        shortened=shortened,
        evaluated={"segmenter_steps": 2, "unpaired_slices": 0},
    )
    options = {"plan": str(plan), "dataset_dirs": str(data), "output_dir": str(tmp_path / "out")}
    said = ablate.run(**options, device="cpu")
    assert "3 of 3 trainings" in said
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"ablation.md", "ablation.csv", "ablation.json", "ablation.html"} <= written
    assert ablate.report(**options) == said


def test_the_default_recipe_is_what_the_steps_lead_to() -> None:
    path = CONFIGS / "ablation" / "steps.json"
    plan, content = load_plan(path, CONFIGS), load_config(path)
    assert plan.goals is not None
    (row,) = (row for row in plan.rows if row.name == plan.goals.recipe)
    of_length = {
        "constant_epochs",
        "decay_epochs",
        "ema_decay",
        "lambda_inversion",
        *content["shortened"],
    }
    parser = ConfigParser(load_config(CONFIGS / "train.json"))
    chosen = {name: value for name, value in row.overlay.items() if name not in of_length}
    assert {name: parser[name] for name in chosen} == chosen
    assert parser.get_parsed_content("lambda_inversion")[-1][1] == 0
