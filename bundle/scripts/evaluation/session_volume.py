"""One session as an evaluation sees it: real, synthetic and cycled volumes, mask and truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from scripts.datasets import EvaluationSlices, read_labels
from scripts.evaluation.evaluator import CycleGanEvaluator, select_centre, to_unit_range
from scripts.evaluation.hidden_codes import HiddenCodeTest, reconstruct_with_noise
from scripts.slice_tables import SlicePair


@dataclass(frozen=True)
class SessionVolume:
    """All pairs of slices of one session, in slice order, on the CPU.

    Attributes:
        dataset: name.
        subject_id: unique across datasets.
        session: "" where there is none.
        slice_indices: in the source volume.
        images: `real_`, `fake_` and `reconstructed_` `t1w` and `t2w`, each (slices, 1, height,
            width) in [0, 1], 0 outside the mask; and `noisy_reconstructed_` of some slices.
        mask: of the same shape, boolean.
        labels: true tissues of the same shape (1 cerebrospinal fluid, 2 grey, 3 white matter, 0
            other); None where they are not known.
        shard: path of the T1w's slices.
    """

    dataset: str
    subject_id: str
    session: str
    slice_indices: tuple[int, ...]
    images: dict[str, Tensor]
    mask: Tensor
    labels: Tensor | None
    shard: Path


def group_sessions(pairs: Sequence[SlicePair]) -> list[list[SlicePair]]:
    """Part pairs, sorted as `load_pairs` gives them, into those of each session."""
    key = attrgetter("t1w.subject_id", "t1w.session", "t1w.shard")
    return [list(group) for _, group in groupby(pairs, key=key)]


def translate_session(
    evaluator: CycleGanEvaluator,
    pairs: Sequence[SlicePair],
    *,
    batch_size: int,
    hidden_codes: HiddenCodeTest | None,
    target: str | None = None,
) -> SessionVolume:
    """Translate one session both ways and back, or one way and back.

    Args:
        evaluator: holds the generators.
        pairs: of one session, in slice order.
        batch_size: slices that are translated together.
        hidden_codes: which slices are translated back with noise too; None for none.
        target: "t2w" or "t1w" for the images of that way only.

    Raises:
        ValueError: the mask is empty, or a prediction is not a finite number.
    """
    head = pairs[0].t1w
    loader = DataLoader(EvaluationSlices(list(pairs)), batch_size=batch_size)
    parts: dict[str, list[Tensor]] = {}
    for number, batch in enumerate(loader):
        images = evaluator.translate(batch["t1w"], batch["t2w"], target=target)
        shown = dict(_to_cpu(images, batch["mask"])) | {"mask": batch["mask"]}
        first = number * batch_size
        if hidden_codes and (rows := hidden_codes.select_rows(first, len(batch["mask"]))):
            noisy = reconstruct_with_noise(evaluator, images, hidden_codes, rows=rows)
            shown |= _to_cpu(noisy, batch["mask"][rows])
        for name, image in shown.items():
            parts.setdefault(name, []).append(image)
    volumes = {name: torch.cat(images) for name, images in parts.items()}
    _check_volumes(volumes, head.subject_id)
    return SessionVolume(
        dataset=head.dataset,
        subject_id=head.subject_id,
        session=head.session,
        slice_indices=tuple(pair.t1w.slice_index for pair in pairs),
        mask=volumes.pop("mask").bool(),
        images=volumes,
        labels=read_labels([pair.t1w for pair in pairs]),
        shard=Path(head.shard),
    )


def _to_cpu(images: dict[str, Tensor], mask: Tensor) -> Iterator[tuple[str, Tensor]]:
    for name, image in images.items():
        yield name, to_unit_range(select_centre(image)).float().cpu().where(mask, 0.0)


def _check_volumes(volumes: dict[str, Tensor], subject_id: str) -> None:
    if not bool(volumes["mask"].any()):
        raise ValueError(
            f"{subject_id}: the brain mask is empty; expected some voxels. "
            "`python -m data_prep verify` lists what is damaged; build the dataset again."
        )
    for name, volume in volumes.items():
        if not bool(torch.isfinite(volume).all()):
            raise ValueError(
                f"{subject_id}: {name} holds values that are no finite numbers. The model is "
                "damaged or overflowed: use another checkpoint, or --precision fp32."
            )
