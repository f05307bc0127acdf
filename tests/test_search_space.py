"""A search space says what varies, and is refused before any trial where it cannot be meant."""

from __future__ import annotations

import math
from collections import Counter

import optuna
import pytest
from scripts.tuning.objectives import Objective, find_values
from scripts.tuning.parameters import Parameter, parse_parameters, suggest_values
from scripts.tuning.search_space import load_search_space

from tests.slice_dataset_fixture import BUNDLE
from tests.tuning_runs import SPACE, load_space

CONFIGS = BUNDLE / "configs"
FLOAT = {"type": "float", "low": 0.1, "high": 1.0}


def vary(**entry):
    return {"parameters": {"learning_rate": entry}}


def depend(values):
    conditional = {**FLOAT, "if": {"upsampling": values}}
    names = {"upsampling": SPACE["parameters"]["upsampling"], "lambda_identity": conditional}
    return {"parameters": names}


@pytest.mark.parametrize("name", ["default", "earlier_system"])
def test_the_spaces_of_the_bundle_are_sound(name):
    space, _ = load_search_space(CONFIGS / "tuning" / f"{name}.json", CONFIGS)
    assert space.objectives == (Objective("t2w_ssim"),)
    assert space.objectives[0].direction == "maximize"


def test_the_earlier_search_is_there_to_the_number():
    """EARLIER_SYSTEM.md, 11: ranges, lengths, objective and pruner."""
    space, _ = load_search_space(CONFIGS / "tuning" / "earlier_system.json", CONFIGS)
    assert {p.name: (p.kind, p.low, p.high, p.log) for p in space.parameters} == {
        "learning_rate": ("float", 1e-4, 1e-3, True),
        "lambda_cycle_t1w": ("float", 7, 12, False),
        "lambda_cycle_t2w": ("float", 7, 12, False),
        "lambda_identity": ("float", 0.05, 0.15, False),
        "betas#0": ("float", 0.2, 0.6, False),
        "betas#1": ("float", 0.9, 0.9999, False),
        "blocks": ("int", 5, 9, False),
        "features": ("int", 16, 80, False),
    }
    assert (space.shortened["max_epochs"], space.shortened["epoch_length"]) == (5, 150)
    assert isinstance(space.make_pruner(), optuna.pruners.MedianPruner)
    assert space.read_recipe(CONFIGS)["upsampling"] == "transposed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"learning_rat": FLOAT}}, r"no id learning_rat .did you mean"),
        ({"parameters": {}}, "no parameters"),
        (
            vary(type="float", low=1.0, high=1.0),
            "learning_rate: the range from 1.0 to 1.0 is empty",
        ),
        (vary(type="float", low=2.0, high=1.0), "from 2.0 to 1.0 is empty"),
        (vary(type="float", low=0.0, high=1.0, log=True), "a low above 0 and no step"),
        (vary(type="float", low=0.0, high=math.inf), "high is inf"),
        (vary(type="int", low=1, high=2.5), "high is 2.5. Expected a number of the type int"),
        (vary(type="number", low=1, high=2), "type is 'number'"),
        (vary(type="float", low=0.1, high=1.0, hihg=2), "hihg is unknown"),
        (vary(type="float", low=0.1, high=1.0, step=2.0), "step is 2.0"),
        (vary(type="categorical", choices=[1, 1]), "two different ones"),
        (
            vary(**FLOAT, **{"if": {"blocks": [6]}}),
            "depends on blocks, which is no parameter before",
        ),
        ({"parameters": {"network_def": FLOAT}}, "network_def is a component"),
        ({"parameters": {"output_dir": FLOAT}}, "output_dir is decided by the tuning"),
        ({"fixed": {"learning_rate": 0.1}}, "learning_rate is named in two sections"),
        ({"shortened": {"evaluated_split": "test"}}, "evaluated_split is 'test'. Expected 'valid"),
        ({"objectives": ["t2w_sism"]}, "no objective 't2w_sism'"),
        ({"objectives": "t2w_ssim"}, "Expected a list"),
        ({"objectives": ["seconds"]}, "Expected different ones, of which the first is"),
        ({"objectives": ["t2w_ssim", "seconds"]}, "several objectives cannot be pruned"),
        ({"sampler": {"_target_": "optuna.samplers.Nothing"}}, "sampler .* cannot be made"),
        ({"sampler": {"_target_": "optuna.pruners.NopPruner"}}, "cannot be made|makes a NopPruner"),
        ({"pruner": {"_target_": "optuna.pruners.MedianPruner", "x": 1}}, "cannot be made"),
        ({"sampler": None}, "sampler is missing"),
        ({"sampler": "tpe"}, "sampler is 'tpe'. Expected an object"),
        ({"sampler": {**SPACE["sampler"], "seed": 1}}, "--seed gives it"),
        ({"fixed": [1]}, r"fixed is \[1\]"),
        ({"fixed": {"validate#dataset#data#split": "test"}}, "changes what is validated"),
        ({"fixed": {"validate::dataset::data::split": "test"}}, "changes what is validated"),
        (depend(["rezise"]), "depends on upsampling being 'rezise', which it never is"),
        (depend([]), "depends on upsampling being no value"),
        ({"samplers": {}}, "samplers is unknown"),
        ({"overlays": ["recipes/none.json"]}, r"none\.json: there is no such config file"),
    ],
)
def test_a_space_that_cannot_be_meant_is_refused(tmp_path, changes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_space(tmp_path / "space.json", **changes)


def test_what_is_no_json_is_named(tmp_path):
    (tmp_path / "space.json").write_text("{")
    with pytest.raises(ValueError, match=r"space\.json: is no JSON"):
        load_search_space(tmp_path / "space.json", CONFIGS)


def test_a_condition_is_asked_for_only_where_it_holds(tmp_path):
    space, _ = load_space(tmp_path / "space.json")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = [suggest_values(space.parameters, study.ask()) for _ in range(40)]
    found = Counter((each["upsampling"], "lambda_identity" in each) for each in seen)
    assert set(found) == {("resize", True), ("transposed", False)}


def test_a_schedule_may_be_chosen_and_comes_back_as_a_list():
    choices = [10.0, [[2, 0.0], [4, 0.5]]]
    entry = {"type": "categorical", "choices": choices}
    parameters = parse_parameters({"lambda_cycle_t1w": entry}, place="")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = [suggest_values(parameters, study.ask())["lambda_cycle_t1w"] for _ in range(20)]
    assert all(value in choices for value in seen)
    assert choices[1] in seen


@pytest.mark.parametrize(
    ("kind", "low", "high", "step", "value", "expected"),
    [
        ("int", 5, 9, None, 6.5, 7),
        ("int", 5, 9, None, 7.5, 8),  # round() gives 8 too, but 6 for 6.5
        ("int", 5, 9, None, 6.49, 6),
        ("int", 16, 80, 8, 55.9, 56),
        ("int", 16, 80, 8, 52.0, 56),
        ("int", 16, 80, 8, 99.0, 80),
        ("float", 0.0, 1.0, 0.25, 0.4, 0.5),
        ("float", 0.0, 1.0, None, 0.4, 0.4),
    ],
)
def test_a_mean_is_placed_on_the_nearest_value_of_the_range(kind, low, high, step, value, expected):
    placed = Parameter("x", kind, low, high, step=step).place(value)
    assert placed == pytest.approx(expected)
    assert isinstance(placed, int if kind == "int" else float)


def test_all_objectives_are_of_the_epoch_that_the_first_liked_best():
    objectives = (Objective("t2w_mae"), Objective("t1w_ssim"), Objective("seconds"))
    validations = {
        1: {"t2w_mae": 0.3, "t1w_ssim": 0.9},
        2: {"t2w_mae": 0.1, "t1w_ssim": 0.5},
        3: {"t2w_mae": math.nan, "t1w_ssim": 0.7},
    }
    assert find_values(objectives, validations, {"seconds": 7.0}) == [0.1, 0.5, 7.0]
    with pytest.raises(ValueError, match="t2w_mae was never a number"):
        find_values(objectives, {3: validations[3]}, {"seconds": 7.0})


def test_words_of_a_search_space_are_no_options_of_a_training():
    """`--sampler x` of a training stays a misspelt option."""
    from monai.bundle import ConfigParser

    check = {
        "_target_": "scripts.config_options.check_option_names",
        "configs_dir": str(CONFIGS),
        "configs": ["train.json"],
    }
    with pytest.raises(RuntimeError) as raised:
        ConfigParser({"sampler": 1, "check": check}).get_parsed_content("check")
    assert "--sampler" in str(raised.value.__cause__)
