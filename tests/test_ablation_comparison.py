"""An ablation's figures over subjects, seeds and folds, and its goals with what was found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.ablation.comparison import compare_rows
from scripts.ablation.goals import judge_goals
from scripts.ablation.plan import Plan
from scripts.ablation.table import format_tables
from scripts.evaluation.statistics import bootstrap_interval

from tests.small_ablation import GOALS, SUBJECTS, load_small_plan, write_evaluation


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Any]]:
    """Two folds of five subjects each; the resizing row has not been trained yet."""
    tmp_path = tmp_path_factory.mktemp("compared")
    plan = load_small_plan(tmp_path)
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
    plan = load_small_plan(tmp_path)
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
    plan = load_small_plan(tmp_path).select(["default"])
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
    plan = load_small_plan(tmp_path, goals={**GOALS, "reference": "", "ceiling": ""}).select(
        ["default"]
    )
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
    plan = load_small_plan(tmp_path, goals={**GOALS, "ceiling": ""}).select(["baseline", "default"])
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
