"""The engine of inference: one scan after the other, reading and writing beside computing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.utils import CommonKeys
from torch import Tensor, nn
from tqdm import tqdm

from scripts.config_options import is_on
from scripts.inference.outcomes import Outcome, OutcomeTable
from scripts.inference.output_folder import OutputFolder
from scripts.inference.scan_dataset import PreparedScan, describe_failure
from scripts.inference.scan_warnings import collect_warnings
from scripts.inference.slice_inferer import NeighbouringSliceInferer, Translation

LARGEST_QUEUE = 2  # volumes that wait to be written: each holds some hundred MB


class ScanEvaluator(SupervisedEvaluator):
    """Translates scans and writes what comes out; one that fails is listed, and the next follows.

    Args:
        device: where the networks compute.
        val_data_loader: gives prepared scans, or outcomes in their place.
        network: the generator.
        ensemble: further generators, whose results are averaged with its.
        inferer: slices a volume.
        postprocessing: back to the input's grid and on to the disk.
        outputs: what is written where.
        table: takes the outcomes.
        progress: whether a bar counts the scans.
        val_handlers: of MONAI or ignite.

    Raises:
        ValueError: the uncertainty of a single pass is asked for.
    """

    def __init__(
        self,
        *,
        device: torch.device | str,
        val_data_loader: Any,
        network: nn.Module,
        ensemble: Sequence[nn.Module],
        inferer: NeighbouringSliceInferer,
        postprocessing: Callable[[dict[str, Any]], dict[str, Any]],
        outputs: OutputFolder,
        table: OutcomeTable,
        progress: bool | str,
        val_handlers: Sequence[Any],
    ) -> None:
        super().__init__(
            device=torch.device(device),
            val_data_loader=val_data_loader,
            network=network,
            inferer=inferer,
            val_handlers=val_handlers,
            decollate=False,
        )
        self.ensemble = list(ensemble)
        if outputs.uncertainty and len(inferer.views) == 1 and not self.ensemble:
            raise ValueError(
                "uncertainty is how much several passes differ, and there is one only. Ask for "
                "more views (--views 4), or name further models with --ensemble_dirs."
            )
        self.finish = postprocessing
        self.outputs = outputs
        self.table = table
        self.progress = is_on(progress)
        self.writing: deque[Future[Outcome]] = deque()

    def run(self) -> None:
        """Translate every scan."""
        count = len(self.data_loader)
        hidden = not self.progress or count == 1
        bar = tqdm(total=count, desc="scans", unit="scan", disable=hidden)
        self.reached: set[str] = set()
        with ThreadPoolExecutor(max_workers=1) as self.writer, bar as self.bar:
            try:
                super().run()
            finally:
                self._record(keep=0)
        self._check_that_all_were_reached()

    def _check_that_all_were_reached(self) -> None:
        """List scans that the loader has not given: its thread may die in silence."""
        for scan in self.data_loader.dataset.data:
            if scan["source"] not in self.reached:
                message = "Not reached, since reading ended early: run the same command again."
                self.table.add(
                    Outcome(scan["source"], self.outputs.direction, "failed", message=message)
                )

    def _iteration(self, engine: Engine, batchdata: PreparedScan | Outcome) -> dict[str, Any]:
        """Translate one scan and hand it to the writer."""
        self._record(keep=LARGEST_QUEUE - 1)
        if isinstance(batchdata, Outcome):
            self._add(batchdata)
            return {}
        start = time.perf_counter()
        try:
            translation = self._translate(batchdata.data[CommonKeys.IMAGE][None])
        except Exception as error:
            self._add(self._describe(batchdata, error, time.perf_counter() - start))
        else:
            seconds = time.perf_counter() - start
            self.writing.append(self.writer.submit(self._finish, batchdata, translation, seconds))
        return {}

    @torch.inference_mode()
    def _translate(self, images: Tensor) -> Translation:
        networks = [self.network, *self.ensemble]
        for network in networks:
            network.eval()
        translation = self.inferer.translate(images.to(self.state.device), networks)
        if not bool(torch.isfinite(translation.mean).all()):
            raise ValueError(
                "the model gives values that are no finite numbers. It is damaged or overflowed: "
                "use another, or --precision fp32."
            )
        spread = translation.spread
        return Translation(translation.mean.cpu(), None if spread is None else spread.cpu())

    def _finish(self, scan: PreparedScan, translation: Translation, seconds: float) -> Outcome:
        """Bring a translation to the input's grid and write it, in the writer's thread."""
        start = time.perf_counter()
        item = {**scan.data, **_as_items(translation, scan.data[CommonKeys.IMAGE])}
        with collect_warnings() as messages:
            try:
                finished = self.finish({**item, "messages": scan.messages})
            except Exception as error:
                return self._describe(scan, error, seconds + time.perf_counter() - start)
        path = self.outputs.paths(scan.source)["synthetic"].relative_to(self.outputs.root)
        return Outcome(
            scan.source,
            self.outputs.direction,
            "done",
            path.as_posix(),
            scan.seconds + seconds + time.perf_counter() - start,
            float(finished["native_brain_mask"].meta["brain_cm3"]),
            " ".join([*scan.messages, *messages]),
        )

    def _describe(self, scan: PreparedScan, error: Exception, seconds: float) -> Outcome:
        return describe_failure(scan.source, self.outputs.direction, error, scan.seconds + seconds)

    def _record(self, *, keep: int) -> None:
        """Wait until at most `keep` scans are still being written."""
        while len(self.writing) > keep:
            self._add(self.writing.popleft().result())

    def _add(self, outcome: Outcome) -> None:
        if outcome.source in self.reached:
            return  # ignite begins anew with a loader that has ended early
        self.reached.add(outcome.source)
        self.table.add(outcome)
        self.bar.update(1)


def _as_items(translation: Translation, image: MetaTensor) -> dict[str, MetaTensor]:
    """Name what the networks made, (1, height, width, slices) where their input lies.

    The uncertainty is that of intensities in [0, 1], half as wide as the network's.
    """
    spread = None if translation.spread is None else translation.spread / 2
    found = {CommonKeys.PRED: translation.mean, "uncertainty": spread}
    return {
        key: MetaTensor(torch.as_tensor(values)[0], meta=image.meta)
        for key, values in found.items()
        if values is not None
    }
