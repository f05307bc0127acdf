"""Which of several models is evaluated: chosen on validation, before the test part is opened."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scripts.ema import MovingAverage
from scripts.evaluation.candidates import (
    Candidate,
    compute_checksums,
    find_candidates,
    load_candidate,
)
from scripts.evaluation.evaluator import VALIDATION_FIGURE_NAMES, CycleGanEvaluator
from scripts.evaluation.key_metric import rank_value

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RankedModel:
    """A candidate and what validation says of it.

    Attributes:
        label: of the candidate.
        sha256: of each of its files.
        validation: figures by name; None where one candidate leaves nothing to choose.
    """

    label: str
    sha256: dict[str, str]
    validation: dict[str, float] | None


@dataclass(frozen=True)
class Choice:
    """The model that was chosen, whose weights are loaded, among all, the best first.

    Attributes:
        key_metric: figure that ranks them.
        chosen: the best one.
        ranked: all of them.
    """

    key_metric: str
    chosen: RankedModel
    ranked: list[RankedModel]


def choose_model(
    candidates: str | Sequence[str],
    *,
    averages: Mapping[str, MovingAverage],
    evaluator: CycleGanEvaluator,
) -> Choice:
    """Load the best candidate by the evaluator's key metric, and rank the others behind it.

    Args:
        candidates: see `find_candidates`.
        averages: of the generators, by direction; the chosen weights stay loaded.
        evaluator: of the validation part.

    Raises:
        ValueError: there are several, and the key metric cannot be measured on validation.
    """
    found = find_candidates(candidates)
    name = evaluator.state.key_metric_name
    if len(found) == 1:
        load_candidate(found[0], averages)
        only = RankedModel(found[0].label, compute_checksums(found[0]), None)
        return Choice(name, only, [only])
    if not evaluator.measures_key_metric:
        raise ValueError(
            f"Found {len(found)} candidates ({', '.join(each.label for each in found)}), but the "
            f"validation part has nothing to measure {name} with. Name one of them, or let "
            "--key_metric auto choose by registered pairs or by native slices of both contrasts."
        )
    figures = [_validate(each, averages, evaluator) for each in found]
    order = sorted(range(len(found)), key=lambda number: rank_value(name, figures[number][name]))
    ranked = [
        RankedModel(found[number].label, compute_checksums(found[number]), figures[number])
        for number in order
    ]
    load_candidate(found[order[0]], averages)
    logger.info("Chosen by %s on validation: %s of %d", name, ranked[0].label, len(ranked))
    return Choice(name, ranked[0], ranked)


def _validate(
    candidate: Candidate, averages: Mapping[str, MovingAverage], evaluator: CycleGanEvaluator
) -> dict[str, float]:
    load_candidate(candidate, averages)
    evaluator.run()
    metrics = evaluator.state.metrics
    return {name: float(metrics[name]) for name in VALIDATION_FIGURE_NAMES if name in metrics}
