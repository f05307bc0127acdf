"""The pages about a study: whole, without a network, whatever trials there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from scripts.tuning.results import select_recipes, write_results
from scripts.tuning.search_space import SearchSpace
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.chromium import needs_chromium, running_chromium
from tests.slice_dataset_fixture import BUNDLE
from tests.tuning_runs import load_space

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(1e-4, 1e-3, log=True),
    "upsampling": CategoricalDistribution(["resize", "transposed"]),
    "blocks": IntDistribution(1, 2),
    "lambda_identity": FloatDistribution(0.1, 5.0),
}
PAGES = (
    "history",
    "importances",
    "slice",
    "contour",
    "contour_top",
    "parallel",
    "timeline",
    "steps",
)


def add_trial(study: optuna.Study, number: int, state: TrialState, **attributes) -> None:
    chosen = {
        "learning_rate": 1e-4 * (1 + number % 9),
        "upsampling": ("resize", "transposed")[number % 2],
        "blocks": 1 + number % 3 // 2,
        **({} if number % 2 else {"lambda_identity": 0.5 + number / 5}),
    }
    value = 0.4 + 0.03 * ((number * 7) % 11)
    values = [value, 1000.0 + number][: len(study.directions)]
    steps = {1: value - 0.1, 2: value} if len(values) == 1 else {}
    study.add_trial(
        create_trial(
            state=state,
            values=values if state == TrialState.COMPLETE else None,
            params=chosen,
            distributions={name: DISTRIBUTIONS[name] for name in chosen},
            intermediate_values=steps,
            user_attrs=attributes,
        )
    )


def make_study(space: SearchSpace, finished: int) -> optuna.Study:
    directions = [objective.direction for objective in space.objectives]
    study = optuna.create_study(study_name="<b>study</b>", directions=directions)
    for number in range(finished):
        add_trial(study, number, TrialState.COMPLETE, epochs=3, seconds=2.0)
    if len(directions) == 1:
        add_trial(study, 20, TrialState.PRUNED, epochs=1)
    add_trial(study, 21, TrialState.FAIL, reason="<i>memory</i>")
    add_trial(study, 22, TrialState.FAIL)
    return study


def write_pages(folder: Path, *, finished: int = 12, threshold: float = 0.5, **changes) -> Path:
    space, _ = load_space(folder / "space.json", **changes)
    study = make_study(space, finished)
    return write_results(study, space, folder, BUNDLE / "configs", threshold=threshold)


def test_the_table_tells_finished_pruned_failed_and_given_up_apart(tmp_path):
    write_pages(tmp_path)
    table = pd.read_csv(tmp_path / "trials.csv")
    assert table["state"].value_counts().to_dict() == {
        "finished": 12,
        "pruned": 1,
        "failed": 1,
        "given up": 1,
    }
    assert table.loc[table["state"] == "failed", "reason"].item() == "<i>memory</i>"


def test_the_consensus_is_of_finished_trials_and_says_what_it_is(tmp_path):
    write_pages(tmp_path)
    table = pd.read_csv(tmp_path / "trials.csv").query("state == 'finished' and t2w_ssim > 0.5")
    consensus = json.loads((tmp_path / "consensus.json").read_text())
    weights = table["t2w_ssim"]
    expected = (weights * table["learning_rate"]).sum() / weights.sum()
    assert consensus["learning_rate"] == pytest.approx(expected)
    assert "A mean of optima need not be one" in consensus["_desc_"]
    assert f"{len(table)} different recipes above 0.5 of 12 finished" in consensus["_desc_"]


def test_without_good_trials_there_is_no_consensus_and_the_log_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    write_pages(tmp_path, threshold=0.9)
    assert not (tmp_path / "consensus.json").exists()
    assert "none is above 0.9" in caplog.text


def test_results_of_an_earlier_report_do_not_stay(tmp_path):
    write_pages(tmp_path)
    assert (tmp_path / "consensus.json").is_file()
    write_pages(tmp_path, threshold=0.9)
    assert not (tmp_path / "consensus.json").exists()
    (tmp_path / "front").mkdir()
    (tmp_path / "front" / "trial_0099.json").write_text("{}")
    write_pages(tmp_path, objectives=["t2w_ssim", "generator_parameters"], pruner=None)
    assert not (tmp_path / "front" / "trial_0099.json").exists()
    assert list((tmp_path / "front").glob("*.json"))


def test_of_a_front_the_best_by_the_first_objective_are_confirmed(tmp_path):
    both = ["t2w_ssim", "generator_parameters"]
    space, _ = load_space(tmp_path / "space.json", objectives=both, pruner=None)
    study = make_study(space, 12)
    (name,) = select_recipes(study, space, BUNDLE / "configs", top=1)
    best = max(study.best_trials, key=lambda trial: trial.values[0])
    assert name == f"trial_{best.number:04d}"


@pytest.mark.parametrize("finished", [0, 1])
def test_with_too_few_trials_the_index_says_so(tmp_path, finished):
    index = write_pages(tmp_path, finished=finished)
    assert "Fewer than 2 trials have finished" in index.read_text()
    assert sorted(path.stem for path in index.parent.glob("*.html")) == ["index", "timeline"]


def test_what_a_trial_says_is_text_and_no_page(tmp_path):
    text = write_pages(tmp_path).read_text()
    assert "&lt;i&gt;memory" in text
    assert "<i>memory" not in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    with running_chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def list_requests(browser: webdriver.Chrome) -> list[str]:
    messages = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize("objectives", [["t2w_ssim"], ["t2w_ssim", "generator_parameters"]])
def test_every_page_draws_without_an_error_or_a_network(tmp_path, browser, objectives):
    index = write_pages(tmp_path, objectives=objectives, pruner=None)
    pages = sorted(index.parent.glob("*.html"))
    if len(objectives) == 1:
        assert {page.stem for page in pages} == {"index", *PAGES}
    else:
        assert {"front", "contour_generator_parameters"} <= {page.stem for page in pages}
    for page in pages:
        browser.get_log("browser")
        browser.get(page.as_uri())
        drawn = ".main-svg" if page != index else "iframe"
        WebDriverWait(browser, 60).until(
            lambda found, drawn=drawn: found.find_elements("css selector", drawn)
        )
        severe = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
        assert severe == []
        local = ("file:", "data:", "blob:", "chrome:", "chrome-untrusted:")
        assert [url for url in list_requests(browser) if not url.startswith(local)] == []
