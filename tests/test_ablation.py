"""An ablation: plans that are checked, figures over seeds and folds, goals with what was found."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser
from scripts import ablate
from scripts.ablation.comparison import compare_rows
from scripts.ablation.goals import judge_goals
from scripts.ablation.plan import Plan, load_plan
from scripts.ablation.table import format_tables
from scripts.config_references import load_config
from scripts.evaluation.measurement import FIGURES
from scripts.evaluation.statistics import bootstrap_interval
from scripts.tuning.full_trainings import FullTraining

from tests.slice_dataset_fixture import BUNDLE, write_slice_dataset
from tests.training_runs import SMALL

CONFIGS = BUNDLE / "configs"
ROWS: dict[str, Any] = {
    "baseline": {"overlays": ["recipes/baseline.json"], "change": {"decay_epochs": 0}, "seeds": 2},
    "resize": {"_desc_": "no holes", "from": "baseline", "change": {"upsampling": "resize"}},
    "default": {"seeds": 2},
    "paired": {"from": "default", "overlays": ["recipes/paired.json"]},
}
GOALS = {
    "recipe": "default",
    "reference": "baseline",
    "ceiling": "paired",
    "ssim": 0.05,
    "psnr_db": 1.0,
    "p": 0.01,
    "gap_closed": 0.6,
    "dice_ratio": 0.95,
    "slice_ratio": [0.95, 1.05],
    "hidden_code_drop": 0.02,
    "checkerboard": 1.05,
}
SUBJECTS = 5


def write_plan(path: Path, **changes: Any) -> Path:
    content = {"rows": ROWS, "shortened": {"features": 8, "decay_epochs": 5}, "goals": GOALS}
    path.write_text(json.dumps({**content, **changes}))
    return path


def load(tmp_path: Path, **changes: Any) -> Plan:
    return load_plan(write_plan(tmp_path / "plan.json", **changes), CONFIGS)


def write_evaluation(training: FullTraining, first: int, **figures: float) -> None:
    """As `run evaluate` writes it, of the subjects of a fold; others are trivial or real."""
    columns = ["model", "kind", "comparison", "dataset", "subject_id", "session", *FIGURES]
    lines = [",".join(columns)]
    for number in range(first, first + SUBJECTS):
        for comparison in ("t2w", "t1w", "t1w_cycle", "t2w_cycle"):
            for model, kind, gain in (
                ("chosen", "model", 0.0),
                ("copy", "trivial", -0.5),
                ("mean", "trivial", -0.4),
                ("lookup", "trivial", -0.02),
                ("real", "real", 0.1),
            ):
                values = {"ssim": 0.5, "psnr": 20.0, **dict.fromkeys(FIGURES[2:], 1.0)} | figures
                values["ssim"] += gain + number / 1000
                values["dice"] += gain
                row = [model, kind, comparison, "d", f"d_sub-{number:02d}", ""]
                lines.append(",".join([*row, *(str(values[name]) for name in FIGURES)]))
    training.evaluation.mkdir(parents=True)
    (training.evaluation / "metrics.csv").write_text("\n".join(lines) + "\n")
    summary = {"format_version": 1, "split": "test", "datasets": ["d"], "paired": True}
    (training.evaluation / "summary.json").write_text(json.dumps(summary))
    (training.evaluation / "report.html").touch()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Any]]:
    """Two folds of five subjects each; the resizing row has not been trained yet."""
    tmp_path = tmp_path_factory.mktemp("compared")
    plan = load(tmp_path)
    trainings = plan.list_trainings([tmp_path / "a", tmp_path / "b"], tmp_path, split="test")
    gains = {"baseline": 0.0, "default": 0.07, "paired": 0.1}
    for training in trainings:
        if training.recipe != "resize":
            gain = gains[training.recipe] + 0.01 * training.seed
            first = 0 if training.dataset_dir.name == "a" else SUBJECTS
            write_evaluation(training, first, ssim=0.5 + gain, psnr=20 + 5 * gain)
    return plan, compare_rows(plan, trainings, seed=0)


def find(content: dict[str, Any], kind: str, **keys: str) -> dict[str, Any]:
    (row,) = (
        each for each in content[kind] if all(each[key] == value for key, value in keys.items())
    )
    return row


def test_a_row_is_its_overlays_then_what_all_share_then_its_changes(tmp_path: Path) -> None:
    plan = load(tmp_path)
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
        load(tmp_path, goals=None, **changes)


def test_an_overlay_may_be_overruled_by_its_own_row_and_shortened_in_part(tmp_path: Path) -> None:
    own = {"lambda_structure": 0.5, "structure_loss": {"method": "ngf"}}
    rows = {"mind": MIND, "ngf": {**NGF, "change": own}, "large": LARGE}
    plan = load(tmp_path, goals=None, rows=rows, shortened={"features": 8})
    found = {row.name: row.overlay for row in plan.rows}
    assert found["ngf"] == {**own, "features": 8}
    assert found["large"] == {"features": 8, "discriminator_features": 64}


def test_options_of_the_evaluation_are_those_of_evaluate_and_of_train(tmp_path: Path) -> None:
    evaluated = {"segmenter_steps": 7, "val_slice_step": 2, "figure_settings#stride": 8}
    assert load(tmp_path, evaluated=evaluated).evaluated == evaluated


def test_first_seeds_come_first_on_every_dataset(tmp_path: Path) -> None:
    trainings = load(tmp_path).list_trainings([Path("a"), Path("b")], tmp_path, split="validation")
    assert [(each.seed, each.dataset_dir.name, each.recipe) for each in trainings] == [
        *((0, fold, row) for fold in "ab" for row in ROWS),
        *((1, fold, row) for fold in "ab" for row in ("baseline", "default")),
    ]
    assert trainings[0].folder == tmp_path / "a" / "baseline" / "seed_0"
    assert trainings[-1].overlay["seed"] == 1


def test_the_test_part_is_evaluated_beside_validation_and_not_taken_for_done(
    tmp_path: Path,
) -> None:
    plan = load(tmp_path)
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
        load(tmp_path, **changes)


def test_seeds_and_folds_are_averaged_for_each_subject(
    compared: tuple[Plan, dict[str, Any]],
) -> None:
    _, content = compared
    row = find(content, "rows", model="default", comparison="t2w", figure="ssim")
    # 0.57 and 0.58 by seed, and 0.000 to 0.009 by subject
    assert row["mean"] == pytest.approx(0.575 + 0.0045)
    assert row["subjects"] == 10
    difference = find(
        content, "differences", model="default", other="baseline", comparison="t2w", figure="ssim"
    )
    assert difference["mean"] == pytest.approx(0.07)
    assert difference["p"] == pytest.approx(2 / 2**10)
    # a family of three: default and paired against baseline, paired against default
    assert difference["p_holm"] == pytest.approx(3 * 2 / 2**10)
    # a family of six: default and paired against three trivial rows
    trivial = find(
        content, "differences", model="default", other="copy", comparison="t2w", figure="ssim"
    )
    assert trivial["p_holm"] == pytest.approx(6 * 2 / 2**10)


def test_rows_are_compared_by_the_seeds_that_both_have(
    compared: tuple[Plan, dict[str, Any]],
) -> None:
    paired = find(
        compared[1], "differences", model="paired", other="default", comparison="t2w", figure="ssim"
    )
    assert paired["mean"] == pytest.approx(0.1 - 0.07)  # seed 0, of which both are


def test_what_is_not_done_is_counted_and_left_out(compared: tuple[Plan, dict[str, Any]]) -> None:
    plan, content = compared
    assert (content["done"], content["of"]) == (10, 12)
    text = format_tables(plan, content, [])
    assert "10 of 12 trainings" in text
    assert "**default**" in text
    assert "**resize**" not in text


def test_the_text_says_what_was_measured_and_how_much_is_chance(
    compared: tuple[Plan, dict[str, Any]],
) -> None:
    text = format_tables(*compared, [])
    assert (
        "their range. 10 subjects (seeds 0, 1): baseline, default; 10 subjects (seeds 0): "
        "paired." in text
    )
    # 0.5045 and 0.07 more, and 0.01 by seed, rounded
    assert "SSIM by seed: baseline 0.504, 0.515; default 0.575, 0.585." in text


def test_trivial_rows_are_those_of_one_evaluation_of_each_fold_and_seed(
    compared: tuple[Plan, dict[str, Any]],
) -> None:
    row = find(compared[1], "rows", model="copy", comparison="t1w", figure="ssim")
    assert row["subjects"] == 10
    assert row["mean"] == pytest.approx(0.005 + 0.0045)  # 0 and 0.01 beside the first trainings


def test_goals_say_what_was_found_and_whether_it_is_met(
    compared: tuple[Plan, dict[str, Any]],
) -> None:
    plan, content = compared
    assert plan.goals is not None
    goals = judge_goals(content, plan.goals)
    found = {goal.words.split(": ")[1]: goal for goal in goals[: len(goals) // 2]}
    assert found["SSIM +0.05 over baseline, interval above 0"].is_met
    gain = found["PSNR +1 dB over baseline, interval above 0"]
    assert (gain.is_met, gain.found.split()[0]) == (False, "+0.350")
    # 0.07 of 0.1, both from the baseline of the same seeds
    assert found["60% of the SSIM from baseline to paired"].found == "70%"
    words = "SSIM of default above lookup for every subject, p below 0.01 where there are enough"
    trivial = found[words]
    assert trivial.found == "+0.090, least +0.090 of 10, p 0.01"  # 0.575 - 0.485, six p-values
    assert not trivial.is_met
    assert found["Dice ratio from 0.95"].found == "0.909"  # 1 / 1.1
    assert not found["Dice ratio from 0.95"].is_met
    assert found["hidden-code drop up to 0.02"].is_met is False
    assert found["checkerboard up to 1.05"].is_met
    text = format_tables(plan, content, goals)
    assert "| T1w to T2w: Dice ratio from 0.95 | 0.909 | not met |" in text


def test_an_interval_of_few_subjects_is_called_their_range(
    compared: tuple[Plan, dict[str, Any]],
) -> None:
    plan, content = compared
    assert plan.goals is not None
    of_four = [{**row, "subjects": 4} for row in content["differences"]]
    goal = judge_goals({**content, "differences": of_four}, plan.goals)[0]
    assert goal.found == "+0.070 (+0.070 to +0.070, range of 4)"
    assert judge_goals(content, plan.goals)[0].found == "+0.070 (+0.070 to +0.070)"
    assert "of fewer than 5 subjects their range" in format_tables(plan, content, [])
    for subjects in (2, 3, 4):
        values = np.linspace(0.1, 0.7, subjects) ** 2
        expected = pytest.approx((values.min(), values.max()))
        assert bootstrap_interval(values, seed=0) == expected


def test_the_share_of_the_gap_is_of_the_seeds_that_all_three_have(tmp_path: Path) -> None:
    """A second seed of the baseline that does well takes nothing from the recipe's first."""
    plan = load(tmp_path)
    gains = {("baseline", 0): 0.0, ("baseline", 1): 0.06, ("default", 0): 0.07, ("paired", 0): 0.1}
    trainings = [
        training
        for training in plan.list_trainings([tmp_path / "a"], tmp_path, split="test")
        if (training.recipe, training.seed) in {*gains, ("default", 1)}
    ]
    for training in trainings:
        gain = gains.get((training.recipe, training.seed), 0.07)
        write_evaluation(training, 0, ssim=0.5 + gain, psnr=20.0)
    assert plan.goals is not None
    goals = judge_goals(compare_rows(plan, trainings, seed=0), plan.goals)
    closed = [goal.found for goal in goals if "60% of the SSIM" in goal.words]
    assert closed == ["70%", "70%"]


def test_seeds_are_compared_where_all_of_a_row_were_measured(tmp_path: Path) -> None:
    """A fold of easier heads that only one seed has seen is no chance of the seed."""
    plan = load(tmp_path).select(["default"])
    plan = replace(plan, goals=None)
    trainings = plan.list_trainings([tmp_path / "a", tmp_path / "b"], tmp_path, split="test")
    seen = [each for each in trainings if (each.seed, each.dataset_dir.name) != (1, "b")]
    for training in seen:
        ssim = 0.5 if training.dataset_dir.name == "a" else 0.9
        write_evaluation(training, 0 if ssim == 0.5 else SUBJECTS, ssim=ssim)
    found = compare_rows(plan, seen, seed=0)["by_seed"]
    by_seed = {row["seed"]: row["ssim"] for row in found if row["comparison"] == "t2w"}
    assert by_seed == pytest.approx({0: 0.502, 1: 0.502})


def test_without_a_reference_only_trivial_rows_and_structure_are_judged(tmp_path: Path) -> None:
    plan = load(tmp_path, goals={**GOALS, "reference": "", "ceiling": ""}).select(["default"])
    trainings = plan.list_trainings([tmp_path / "a"], tmp_path, split="test")
    for training in trainings:
        write_evaluation(training, 0, ssim=0.5)
    assert plan.goals is not None
    goals = judge_goals(compare_rows(plan, trainings, seed=0), plan.goals)
    assert not any("over" in goal.words for goal in goals)
    trivial = [goal for goal in goals if "above lookup" in goal.words]
    assert [goal.is_met for goal in trivial] == [True, True]


@pytest.mark.parametrize(("ssim", "is_met"), [(0.5, True), (0.483, False)])
def test_every_subject_must_be_better_than_trivially_translated(
    tmp_path: Path, ssim: float, is_met: bool
) -> None:
    plan = load(tmp_path, goals={**GOALS, "ceiling": ""}).select(["baseline", "default"])
    training, *others = plan.list_trainings([tmp_path / "a"], tmp_path, split="test")
    for first, each in enumerate([training, *others]):
        write_evaluation(each, 0, ssim=ssim + 0.001 * first)
    for each in (training, *others):  # one subject is as good by the look-up table
        table = each.evaluation / "metrics.csv"
        lookup = re.search(r"lookup,trivial,t2w,d,d_sub-00,,([^,]*)", table.read_text())
        assert lookup is not None
        table.write_text(table.read_text().replace(lookup[1], "0.49", 1))
    content = compare_rows(plan, [training, *others], seed=0)
    assert plan.goals is not None
    goals = [goal for goal in judge_goals(content, plan.goals) if "above lookup" in goal.words]
    assert [goal.is_met for goal in goals] == [is_met, True]


def test_some_seeds_of_a_plan_can_be_taken(tmp_path: Path) -> None:
    plan = load(tmp_path)
    rows = plan.select_seeds([1]).rows
    assert [(row.name, row.seeds) for row in rows] == [("baseline", (1,)), ("default", (1,))]
    with pytest.raises(ValueError, match=r"no row has seed 7. Found: \[0, 1\]"):
        plan.select_seeds([0, 7])


@pytest.mark.parametrize("seeds", ["0,one", "0.5"])
def test_seeds_are_whole_numbers(tmp_path: Path, seeds: str) -> None:
    load(tmp_path)
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
