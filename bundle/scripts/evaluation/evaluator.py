"""The engine that measures translations of registered pairs."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from ignite.engine import Events
from ignite.metrics import Metric
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents
from torch import Tensor
from torch.utils.data import DataLoader

from scripts.config_options import is_on
from scripts.cyclegan import Generators, Images, translate_cycles
from scripts.evaluation.key_metric import (
    AUTO,
    UNPAIRED_FIGURE_NAMES,
    choose_key_metric,
    is_better,
)
from scripts.evaluation.metrics import SubjectMetrics
from scripts.precision import autocast, select_precision

logger = logging.getLogger(__name__)

COMPARISONS = {  # what is compared with which real image
    "t2w": ("fake_t2w", "real_t2w"),
    "t1w": ("fake_t1w", "real_t1w"),
    "t1w_cycle": ("reconstructed_t1w", "real_t1w"),
    "t2w_cycle": ("reconstructed_t2w", "real_t2w"),
}
FIGURES = ("ssim", "psnr", "mae", "nmse")
FIGURE_NAMES = tuple(f"{name}_{figure}" for name in COMPARISONS for figure in FIGURES)
VALIDATION_FIGURE_NAMES = (*FIGURE_NAMES, *UNPAIRED_FIGURE_NAMES)


class UnpairedMeasure(Protocol):
    """What measures an evaluator's generators without pairs, see `UnpairedValidation`."""

    def measure(self, evaluator: CycleGanEvaluator) -> dict[str, float]:
        """Return figures of `UNPAIRED_FIGURE_NAMES`."""


def to_unit_range(images: Tensor) -> Tensor:
    """Map network images in [-1, 1] to [0, 1]."""
    return (images + 1) / 2


def select_centre(images: Tensor) -> Tensor:
    """Return the middle one of neighbouring slices, (batch, 1, height, width)."""
    centre = images.shape[1] // 2
    return images[:, centre : centre + 1]


class TranslationMetrics(Metric):
    """Figures inside the brain mask on [0, 1], per subject, of fakes and cycles both ways."""

    def reset(self) -> None:
        """Forget every subject."""
        self.subjects = {name: SubjectMetrics(data_range=1.0) for name in COMPARISONS}

    def update(self, output: Sequence[dict[str, Any]]) -> None:
        """Add one batch, the output of `CycleGanEvaluator`."""
        images = output[0]
        for name, (predicted, real) in COMPARISONS.items():
            prediction, target = (
                to_unit_range(select_centre(images[key])) for key in (predicted, real)
            )
            self.subjects[name].update(images["subject_id"], prediction, target, images["mask"])

    def compute(self) -> dict[str, float]:
        """Return means over the subjects by name, such as `t2w_ssim` and `t1w_cycle_psnr`."""
        for metrics in self.subjects.values():
            metrics.gather()
        means = {name: metrics.mean() for name, metrics in self.subjects.items()}
        return {f"{name}_{figure}": means[name][figure] for name in means for figure in FIGURES}

    def list_subjects(self) -> Iterator[tuple[str, str, str, dict[str, float]]]:
        """Yield "model", the comparison, the subject and its figures."""
        for name, metrics in self.subjects.items():
            for subject_id, figures in metrics.compute().items():
                yield "model", name, subject_id, figures


class CycleGanEvaluator(Evaluator):
    """Translates pairs both ways and back, in four passes, and measures the results.

    Figures that need no pairs are measured where the key metric is one of them, where there are no
    pairs, or always. `state.output` is a list of one dict for the whole batch: the images of
    `translate_cycles`, `mask` and `subject_id`.

    Args:
        device: where the generators are.
        val_data_loader: batches of `EvaluationSlices`.
        generators: both, as they are shipped.
        precision: see `select_precision`.
        key_val_metric: ignite metrics by name, which give the figures.
        key_metric: figure that ranks models, or "auto", see `choose_key_metric`.
        val_handlers: MONAI or ignite handlers.
        unpaired: measures without pairs; None where there is nothing for it.
        always_unpaired: whether it does so beside pairs that decide, too.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        val_data_loader: DataLoader[Any],
        generators: Generators,
        precision: str,
        key_val_metric: dict[str, Metric],
        key_metric: str,
        val_handlers: Sequence[Any],
        unpaired: UnpairedMeasure | None = None,
        always_unpaired: bool | str = False,
    ) -> None:
        if key_metric not in (AUTO, *VALIDATION_FIGURE_NAMES):
            expected = (*VALIDATION_FIGURE_NAMES, AUTO)
            raise ValueError(f"key_metric is {key_metric!r}; expected one of {expected}.")
        has_pairs = len(val_data_loader) > 0
        chosen = choose_key_metric(key_metric, has_pairs=has_pairs, has_native=unpaired is not None)
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            decollate=False,
            key_val_metric=key_val_metric,
            metric_cmp_fn=partial(is_better, chosen),
            val_handlers=[handler for handler in val_handlers if handler is not None],
        )
        self.generators = generators
        self.precision = select_precision(precision, self.state.device)
        self.state.key_metric_name = chosen
        is_needed = is_on(always_unpaired) or not has_pairs or chosen in UNPAIRED_FIGURE_NAMES
        self.unpaired = unpaired if is_needed else None

    def _register_metrics(
        self, k_metric: dict[str, Metric], add_metrics: dict[str, Metric] | None = None
    ) -> None:
        """Attach metrics; MONAI takes a first validation for the best even if it gives a NaN."""
        for name, metric in (k_metric | (add_metrics or {})).items():
            metric.attach(self, name)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._note_best)

    def _note_best(self) -> None:
        state = self.state
        current = state.metrics.get(state.key_metric_name, math.nan)
        best = math.nan if state.best_metric_epoch == -1 else state.best_metric
        if self.metric_cmp_fn(current, best):
            state.best_metric, state.best_metric_epoch = current, state.epoch

    @property
    def measures_key_metric(self) -> bool:
        """Whether there is what the key metric is measured on."""
        if self.state.key_metric_name in UNPAIRED_FIGURE_NAMES:
            return self.unpaired is not None
        return self.state.epoch_length > 0

    def run(self, global_epoch: int = 1) -> None:
        """Evaluate every pair of the loader, and without pairs, as far as there is anything."""
        if self.unpaired is not None:
            self.state.metrics |= self.unpaired.measure(self)
        if self.state.epoch_length:
            super().run(global_epoch)
        elif self.unpaired is not None:
            self.state.epoch = global_epoch
            self._note_best()

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> list[dict[str, Any]]:
        output: dict[str, Any] = dict(self.translate(batchdata["t1w"], batchdata["t2w"]))
        output["mask"] = batchdata["mask"].to(self.state.device)
        output["subject_id"] = batchdata["subject_id"]
        self.state.output = [output]
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    @torch.no_grad()
    def translate(self, real_t1w: Tensor, real_t2w: Tensor, *, target: str | None = None) -> Images:
        """Return the images of `translate_cycles` on the device, without identity.

        With a target, "t2w" or "t1w", only those of the way to it and back.
        """
        t1w, t2w = (image.to(self.state.device) for image in (real_t1w, real_t2w))
        if target is not None:
            return self._translate_one_way(t1w, t2w, target)
        with autocast(self.state.device, self.precision):
            real = {"t1w": t1w, "t2w": t2w}
            return translate_cycles(self.generators, real, with_identity=False)

    def _translate_one_way(self, t1w: Tensor, t2w: Tensor, target: str) -> Images:
        images = {"real_t1w": t1w, "real_t2w": t2w}
        source = {"t2w": "t1w", "t1w": "t2w"}[target]
        fake = self.apply(f"{source}_to_{target}", images[f"real_{source}"])
        cycle = self.apply(f"{target}_to_{source}", fake)
        return images | {f"fake_{target}": fake, f"reconstructed_{source}": cycle}

    @torch.no_grad()
    def apply(self, direction: str, images: Tensor) -> Tensor:
        """Translate one way, "t1w_to_t2w" or "t2w_to_t1w"; the result is on the device."""
        generator = getattr(self.generators, direction)
        with autocast(self.state.device, self.precision):
            translated: Tensor = generator(images.to(self.state.device))
        return translated.float()

    def state_dict(self) -> dict[str, Any]:
        """Return the best figure so far: what a resumed training has to beat."""
        names = ("key_metric_name", "best_metric", "best_metric_epoch")
        return {name: getattr(self.state, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore `state_dict()`, unless another figure is the key metric now."""
        if state_dict["key_metric_name"] != self.state.key_metric_name:
            logger.warning(
                "The key metric was %s and is %s now: the best model so far does not count.",
                state_dict["key_metric_name"],
                self.state.key_metric_name,
            )
            return
        self.state.best_metric = state_dict["best_metric"]
        self.state.best_metric_epoch = state_dict["best_metric_epoch"]
