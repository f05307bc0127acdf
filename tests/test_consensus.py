"""The earlier system's mean of good trials, and what it hides."""

from __future__ import annotations

import pytest
from scripts.tuning.consensus import Finished, compute_consensus, merge_equal
from scripts.tuning.search_space import load_search_space

from tests.slice_dataset_fixture import BUNDLE

CONFIGS = BUNDLE / "configs"
SPACE, _ = load_search_space(CONFIGS / "tuning" / "earlier_system.json", CONFIGS)
# EARLIER_SYSTEM.md, 8: what it shipped as the mean of its trials above .5.
PUBLISHED = {
    "learning_rate": 5.132e-4,
    "lambda_cycle_t1w": 9.377,
    "lambda_cycle_t2w": 8.834,
    "lambda_identity": 0.08638,
    "betas#0": 0.4984,
    "betas#1": 0.9636,
    "blocks": 7,
    "features": 56,
}
SPREAD = {
    "learning_rate": 1e-4,
    "lambda_cycle_t1w": 1.2,
    "lambda_cycle_t2w": 0.9,
    "lambda_identity": 0.02,
    "betas#0": 0.06,
    "betas#1": 0.02,
    "blocks": 1,
    "features": 12,
}


def move(steps: float, value: float) -> Finished:
    """A trial some spreads away from the published recipe."""
    return Finished(value, {name: PUBLISHED[name] + steps * SPREAD[name] for name in PUBLISHED})


# Weighted by their values these four balance: -.6 + .3 + .3 = 0, .5 does not count.
TRIALS = [move(-1, 0.6), move(0.5, 0.6), move(0.5, 0.6), move(1.5, 0.5), move(2, 0.3)]


def test_a_table_of_the_earlier_kind_gives_its_published_recipe():
    found = compute_consensus(TRIALS, SPACE.parameters, threshold=0.5)
    assert found == pytest.approx(PUBLISHED)
    assert (found["blocks"], found["features"]) == (7, 56)
    assert isinstance(found["blocks"], int)


def test_a_recipe_that_was_tried_twice_counts_once():
    """By hand: (-1 + .5) / 2 = -.25 spreads."""
    merged = merge_equal(TRIALS)
    assert len(merged) == 4
    found = compute_consensus(merged, SPACE.parameters, threshold=0.5)
    for name in ("learning_rate", "lambda_cycle_t1w", "betas#1"):
        assert found[name] == pytest.approx(PUBLISHED[name] - 0.25 * SPREAD[name])
    assert found["features"] == 53


def test_equal_recipes_have_the_mean_of_their_values():
    (merged,) = merge_equal([Finished(0.4, {"a": 1}), Finished(0.8, {"a": 1})])
    assert merged.value == pytest.approx(0.6)


def test_values_weigh():
    """By hand: (.6 * 5 + .9 * 10) / 1.5 = 8."""
    trials = [Finished(0.6, {"lambda_cycle_t1w": 5.0}), Finished(0.9, {"lambda_cycle_t1w": 10.0})]
    found = compute_consensus(trials, (SPACE.find("lambda_cycle_t1w"),), threshold=0.5)
    assert found == pytest.approx({"lambda_cycle_t1w": 8.0})


def test_without_a_good_trial_the_best_is_named():
    with pytest.raises(
        ValueError, match=r"of 5 finished trials none is above 0\.9; the best has 0\.6"
    ):
        compute_consensus(TRIALS, SPACE.parameters, threshold=0.9)
