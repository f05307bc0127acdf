"""The shipped configs: complete for MONAI, hard to misuse, the recipes true to their numbers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser
from scripts.config_options import check_number, is_on
from scripts.config_references import load_config, resolve_references
from scripts.errors import OTHER_NETWORKS, describe_mismatch, find_cause

from tests.forked_processes import start_command
from tests.slice_dataset_fixture import BUNDLE, write_slice_dataset
from tests.training_runs import CONFIGS, SMALL, find_error, make_workflow, train

OWN_CONFIGS = (
    "train",
    "evaluate",
    "demo",
    "multi_gpu_train",
    "recipes/baseline",
    "recipes/optimized",
    "recipes/paired",
    "recipes/few_pairs",
    "recipes/large",
    "recipes/ngf",
    "recipes/simulated_pairs",
)
SHARED_WITH_INFERENCE = ("slices", "slice_distance_mm", "features", "blocks", "upsampling")


def read(name: str) -> dict[str, Any]:
    return load_config(CONFIGS / f"{name}.json")


def parse(*overlays: str, **options: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / name) for name in ("train.json", *overlays)])
    parser.update({"bundle_root": str(BUNDLE), "device": "cpu"} | options)
    return parser


def count_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_monai_finds_every_property_of_a_training(dataset_dir: Path) -> None:
    workflow = make_workflow(dataset_dir=str(dataset_dir))
    assert workflow.check_properties() == []
    assert workflow.network_def is not None
    assert workflow.train_dataset_data is not None
    assert workflow.val_key_metric is not None


@pytest.mark.parametrize("name", OWN_CONFIGS)
def test_configs_are_written_as_the_model_zoo_prints_them(name: str) -> None:
    text = (CONFIGS / f"{name}.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=4, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("overlays", [(), ("multi_gpu_train.json",), ("evaluate.json",)])
def test_the_package_scripts_is_found_from_another_folder(
    overlays: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MONAI itself looks into --bundle_root only once `initialize`, which needs it, has ended."""
    monkeypatch.setattr("sys.path", list(sys.path))
    parse(*overlays, bundle_root=str(tmp_path)).get_parsed_content("initialize#0")
    assert sys.path[0] == str(tmp_path)


def test_training_and_run_are_the_same() -> None:
    assert read("train")["training"] == "%run"
    assert read("evaluate")["evaluate"] == "%run"


def test_every_option_is_described_and_every_description_is_of_an_option() -> None:
    config = read("train")
    described = set(config["_desc_"]) - {"options"}
    plain = {
        name
        for name, value in config.items()
        if not isinstance(value, dict)
        and not re.match("imports|initialize|run|training|network_def", name)
    }
    assert described - set(config) == set()
    assert plain - described == {
        "bundle_root",
        "inference_config",
        "discriminator_def_t2w",
    }


def test_overlays_change_only_what_training_has() -> None:
    known = {*read("train"), "finalize"}
    for name in OWN_CONFIGS[2:]:
        assert {key.split("#")[0] for key in read(name)} <= known


def test_networks_are_those_of_inference() -> None:
    train_config, inference = read("train"), read("inference")
    assert train_config["network_def"] == inference["network_def"]
    for name in SHARED_WITH_INFERENCE:
        assert train_config[name] == inference[name]


def test_a_misspelt_option_is_an_error_with_the_right_name(
    tmp_path: Path, dataset_dir: Path
) -> None:
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, max_epocs=3)
    assert "Unknown option --max_epocs (did you mean --max_epochs?)" in find_error(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; expected a number, such as"),
        ({"learning_rate": True}, "learning_rate is True; expected a number"),
        ({"max_epochs": 2.5}, "max_epochs is 2.5; expected a whole number, such as"),
        ({"segmenter_steps": "many"}, "segmenter_steps is 'many'; expected a whole number"),
        ({"epoch_length": 0}, "epoch_length is 0; expected 1 or more"),
        ({"features": 0}, "features is 0; expected 1 or more"),
        ({"seed": -1}, "seed is -1; expected 0 or more"),
        ({"pool_size": -1}, "pool_size is -1; expected 0 or more"),
        ({"val_slice_step": 0}, "val_slice_step is 0; expected 1 or more"),
        ({"val_max_subjects": 0}, "val_max_subjects is 0; expected 1 or more"),
        ({"ranking_slice_step": 0}, "ranking_slice_step is 0; expected 1 or more"),
        ({"betas": [0.5]}, "betas is [0.5]; expected two in [0, 1)"),
        ({"betas": 0.5}, "betas is 0.5; expected two in [0, 1)"),
        ({"betas": [0.5, "x"]}, "betas is [0.5, 'x']; expected two in [0, 1)"),
        ({"betas": [0.5, 1.0]}, "betas is [0.5, 1.0]; expected two in [0, 1)"),
        ({"memory_format": "rows"}, "memory_format is 'rows'; expected one of ['contiguous_form"),
    ],
)
def test_a_value_with_which_nothing_could_be_done_is_an_error_that_names_it(
    options: dict[str, Any], message: str, tmp_path: Path, dataset_dir: Path
) -> None:
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, **options)
    assert message in find_error(error)
    assert list(tmp_path.iterdir()) == []


def test_numbers_may_be_written_otherwise_lists_or_expressions() -> None:
    for value in (3, 3.0, "$1 + 2", "@val_interval", [[1, 5], [50, 0]]):
        check_number("lambda_identity", value, default=0.0)
        check_number("max_epochs", value, default=200)
    check_number("scheduler", "word", default={"_target_": "x"})
    check_number("resume", "true", default=False)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("plane", "inference.json"),
        ("spacing_mm", "inference.json"),
        ("bias_correction", "inference.json"),
        ("deploy_inferer", "deploy.json"),
    ],
)
def test_an_option_of_another_config_is_an_error_that_names_it(
    name: str, files: str, tmp_path: Path, dataset_dir: Path
) -> None:
    """A dataset has its preprocessing already: in a training these options would do nothing."""
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, **{name: "sagittal"})
    assert f"Unknown option --{name}" in find_error(error)
    assert f"{name} belongs to {files}; leave it out here" in find_error(error)


def test_training_and_evaluation_share_their_command_lines(tmp_path: Path) -> None:
    """As `make weights TRAINING_OPTIONS=...` gives them; so the next error is of another kind."""
    for overlays, options in (
        ((), {"segmenter_steps": 2, "unpaired_slices": 0}),
        (("evaluate.json",), {"lambda_identity": 0.0, "max_epochs": 9}),
        ((), {"finalize": []}),
    ):
        with pytest.raises(RuntimeError) as error:
            workflow = make_workflow(*overlays, dataset_dir=str(tmp_path), **options)
            workflow.run()
        assert "no finished slice dataset" in find_error(error)


def test_an_overlay_may_bring_a_component_that_is_used(tmp_path: Path, dataset_dir: Path) -> None:
    options = {"my_noise": 0.03, "structure_loss#noise": "@my_noise"}
    train(dataset_dir, tmp_path, max_epochs=1, epoch_length=1, **options)
    assert list(tmp_path.rglob("checkpoint_*.pt"))


def test_a_misspelt_nested_option_is_an_error() -> None:
    with pytest.raises(KeyError):
        parse(**{"generator_optimiser#lr": 1.0})


def test_options_reach_where_they_belong(dataset_dir: Path) -> None:
    workflow = make_workflow(
        dataset_dir=str(dataset_dir),
        learning_rate=1e-3,
        betas=[0.4, 0.9],
        lambda_identity=0.25,
        lambda_cycle_t2w=7.0,
        **{"augmentation#noise_sigma": 0.5, "generator_optimizer#lr": 2e-3},
    )
    trainer = workflow.parser.get_parsed_content("train#trainer")
    assert trainer.discriminator_optimizer.param_groups[0]["lr"] == 1e-3
    assert trainer.generator_optimizer.param_groups[0]["lr"] == 2e-3
    assert list(trainer.generator_optimizer.param_groups[0]["betas"]) == [0.4, 0.9]
    assert trainer.weights.at(1).identity == 0.25
    assert trainer.weights.at(99).cycle_t2w == 7.0
    assert trainer.prepare_batch.augmentation.noise_sigma == 0.5
    assert trainer.state.max_epochs == SMALL["max_epochs"]


def test_only_networks_that_begin_anew_start_from_the_inverted_source() -> None:
    def read_weight(**options: Any) -> Any:
        return parse(**options).get_parsed_content("lambda_inversion")

    assert read_weight() == [[3, 10.0], [4, 0.0]]
    assert read_weight(pretrained="false") == [[3, 10.0], [4, 0.0]]
    assert read_weight(pretrained=True) == read_weight(pretrained="true") == 0.0
    assert read_weight(pretrained=True, lambda_inversion=2.0) == 2.0


def test_switches_are_read_as_the_command_line_gives_them() -> None:
    found = {value: is_on(value) for value in (True, False, "true", "false", "True", "False")}
    assert found == {True: True, False: False, "true": True, "false": False} | {
        "True": True,
        "False": False,
    }
    with pytest.raises(ValueError, match="Found 'yes' for a switch; expected true or false"):
        is_on("yes")


def test_a_dataset_of_another_preprocessing_is_refused(tmp_path: Path) -> None:
    folder = write_slice_dataset(tmp_path / "data", splits=("train", "train", "validation"))
    description = json.loads((folder / "dataset.json").read_text())
    description["preprocessing"] = {"_target_": "Compose", "transforms": []}
    (folder / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(RuntimeError) as error:
        train(folder, tmp_path / "out")
    assert "made with another preprocessing than" in find_error(error)


def test_the_baseline_rebuilds_the_earlier_networks_to_the_parameter() -> None:
    parser = parse("recipes/baseline.json")
    assert count_parameters(parser.get_parsed_content("network_def")) == 7_825_153
    assert count_parameters(parser.get_parsed_content("discriminator_def")) == 2_762_689
    strides = [
        module.stride[0]
        for module in parser.get_parsed_content("discriminator_def").modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    assert strides == [2, 2, 2, 2, 1]
    decoder = parser.get_parsed_content("network_def").decoder
    assert sum(isinstance(module, torch.nn.ConvTranspose2d) for module in decoder) == 2


@pytest.mark.parametrize(
    ("recipe", "rate", "betas", "cycle", "identity", "features", "blocks"),
    [
        ("baseline", 2e-4, [0.5, 0.999], (10.0, 10.0), 0.1, 64, 6),
        ("optimized", 5.132e-4, [0.4984, 0.9636], (9.377, 8.834), 0.08638, 56, 7),
    ],
)
def test_recipes_hold_the_earlier_numbers(
    recipe: str,
    rate: float,
    betas: list[float],
    cycle: tuple[float, float],
    identity: float,
    features: int,
    blocks: int,
) -> None:
    config = read(f"recipes/{recipe}")
    assert config["learning_rate"] == rate
    assert config["betas"] == betas
    assert (config["lambda_cycle_t1w"], config["lambda_cycle_t2w"]) == cycle
    assert config["lambda_identity"] == identity
    assert (config["features"], config["blocks"]) == (features, blocks)
    assert (config["max_epochs"], config["epoch_length"], config["batch_size"]) == (300, 200, 1)
    assert (config["pool_size"], config["decay_epochs"], config["lambda_structure"]) == (0, 0, 0.0)


def test_the_demo_is_small_enough_for_a_cpu() -> None:
    parser = parse("demo.json")
    assert count_parameters(parser.get_parsed_content("network_def")) < 600_000
    images = parser["max_epochs"] * parser["epoch_length"] * parser["batch_size"]
    assert images <= 2500


def test_dataset_section_resolves_to_plain_json() -> None:
    resolved = resolve_references(read("inference"), "preprocessing")
    assert "@" not in json.dumps(resolved)


def test_the_cause_of_an_error_is_found_behind_monais_words() -> None:
    cause = ValueError("the cause")
    wrapper = RuntimeError("Failed to instantiate component 'x'")
    wrapper.__cause__ = cause
    outer = RuntimeError("Failed to evaluate ConfigExpression")
    outer.__cause__ = wrapper
    assert find_cause(outer) is cause
    assert find_cause(cause) is cause


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_epochs": -3}, "max_epochs is -3"),
        *(
            ({f"{name}_interval": 0}, f"{name}_interval is 0; expected 1 or more")
            for name in ("val", "checkpoint", "log")
        ),
        ({"evaluated_split": "tset"}, "expected one of train, validation"),
    ],
)
def test_a_training_that_could_not_ship_a_model_does_not_begin(
    options: dict[str, Any], words: str, tmp_path: Path, dataset_dir: Path
) -> None:
    with pytest.raises(RuntimeError) as error:
        train(dataset_dir, tmp_path, **options)
    assert words in find_error(error)


def test_a_model_of_other_networks_is_told_from_other_runtime_errors() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 4).state_dict())
    assert OTHER_NETWORKS in str(error.value)
    assert "size mismatch for weight" in describe_mismatch(error.value)
    assert "--features" in describe_mismatch(error.value)


def test_the_command_line_ends_with_the_cause(tmp_path: Path) -> None:
    arguments = ("--config_file", "configs/train.json", "--dataset_dir", str(tmp_path / "absent"))
    process = start_command(
        "monai.bundle", "run", "training", *arguments, "--output_dir", str(tmp_path),
        cwd=BUNDLE, output=tmp_path / "said",
    )  # fmt: skip
    process.join()
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 1
    last = said.strip().splitlines()[-1]
    assert last.startswith("FileNotFoundError: ")
    assert "python -m data_prep bids OUT" in last
    assert "Traceback" not in said
