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
from scripts.evaluation.evaluator import FIGURE_NAMES, CycleGanEvaluator

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
    """The model that was chosen, whose weights are loaded, among all, the best first."""

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
        ValueError: there are several, and no registered validation pairs to choose by.
    """
    found = find_candidates(candidates)
    if len(found) == 1:
        load_candidate(found[0], averages)
        only = RankedModel(found[0].label, compute_checksums(found[0]), None)
        return Choice(only, [only])
    if not evaluator.state.epoch_length:
        raise ValueError(
            f"Found {len(found)} candidates ({', '.join(each.label for each in found)}), but the "
            "validation part has no registered pairs to choose by. Name one of them."
        )
    name = evaluator.state.key_metric_name
    sign = 1 if name.endswith(("mae", "nmse")) else -1
    figures = [_validate(each, averages, evaluator) for each in found]
    order = sorted(range(len(found)), key=lambda number: sign * figures[number][name])
    ranked = [
        RankedModel(found[number].label, compute_checksums(found[number]), figures[number])
        for number in order
    ]
    load_candidate(found[order[0]], averages)
    logger.info("Chosen by %s on validation: %s of %d", name, ranked[0].label, len(ranked))
    return Choice(ranked[0], ranked)


def _validate(
    candidate: Candidate, averages: Mapping[str, MovingAverage], evaluator: CycleGanEvaluator
) -> dict[str, float]:
    load_candidate(candidate, averages)
    evaluator.run()
    return {name: float(evaluator.state.metrics[name]) for name in FIGURE_NAMES}
