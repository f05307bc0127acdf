"""Figures of every session of a part of a dataset, one session in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import nn
from tqdm import tqdm

from scripts.evaluation.evaluator import CycleGanEvaluator
from scripts.evaluation.measurement import FigureSettings, measure_session
from scripts.evaluation.session_volume import SessionVolume, group_sessions, translate_session
from scripts.evaluation.trivial_rows import TrivialFit
from scripts.slice_tables import SlicePair


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        sessions: a row a prediction of a session, see `measure_session`.
        slices: a row a prediction of a slice.
    """

    sessions: pd.DataFrame
    slices: pd.DataFrame


class SessionTranslator:
    """Translates the sessions of a list of pairs, one at a time.

    Args:
        evaluator: holds the generators.
        pairs: of all sessions.
        settings: of the figures.
    """

    def __init__(
        self, *, evaluator: CycleGanEvaluator, pairs: Sequence[SlicePair], settings: FigureSettings
    ) -> None:
        self.evaluator = evaluator
        self.sessions = group_sessions(pairs)
        self.settings = settings

    def __len__(self) -> int:
        return len(self.sessions)

    def translate(self, number: int, *, target: str | None = None) -> SessionVolume:
        """Translate one session for all figures, or only the way to a target, "t2w" or "t1w"."""
        return translate_session(
            self.evaluator,
            self.sessions[number],
            batch_size=self.settings.batch_size,
            hidden_codes=self.settings.hidden_codes if target is None else None,
            target=target,
        )


def measure_sessions(
    translator: SessionTranslator,
    *,
    label: str,
    fits: Mapping[str, TrivialFit],
    segmenters: Mapping[str, nn.Module],
) -> Measured:
    """Measure them all.

    Args:
        translator: of the sessions.
        label: of the model.
        fits: of the trivial rows, by target.
        segmenters: by target; may be empty.
    """
    rows, slices = [], []
    numbers = tqdm(range(len(translator)), desc="evaluation", unit="session")
    for number in numbers:
        of_session, of_slices = measure_session(
            translator.translate(number),
            label=label,
            fits=fits,
            segmenters=segmenters,
            settings=translator.settings,
        )
        rows += of_session
        slices += of_slices
    return Measured(pd.DataFrame(rows), pd.DataFrame(slices))
