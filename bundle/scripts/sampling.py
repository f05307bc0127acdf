"""Which slice is drawn when: pure functions of the seed and the sample's global number."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence, Sized
from functools import lru_cache

import numpy as np
import pandas as pd
from torch.utils.data import Sampler
from torch.utils.data.distributed import DistributedSampler

from scripts.processes import count_processes, get_rank


def draw_position(number: int, *, length: int, seed: int, stream: str) -> int:
    """Position that sample `number` takes in a list of `length`.

    Samples run through one permutation after another, so that every entry is drawn once before
    any is drawn again.
    """
    turn, place = divmod(number, length)
    return int(_draw_permutation(seed, stream, turn, length)[place])


@lru_cache(maxsize=8)  # two streams, and workers that stand on both sides of a turn
def _draw_permutation(seed: int, stream: str, turn: int, length: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(stream.encode()), turn])
    return rng.permutation(length)


def derive_seeds(seed: int, numbers: Sequence[int], *, stream: str) -> list[int]:
    """Seeds for the augmentation of samples, the same in whatever batch or process they are."""
    code = zlib.crc32(stream.encode())
    return [
        int(np.random.SeedSequence([seed, number, code]).generate_state(1, np.uint64)[0])
        for number in numbers
    ]


def assign_sides(t1w: pd.DataFrame, t2w: pd.DataFrame, *, seed: int) -> dict[str, str]:
    """Give every group to one contrast, so that no network sees both images of one head.

    Groups with one contrast go to its side. The others, ranked within their dataset by a salted
    hash, go one by one to the side that has fewer groups.

    Args:
        t1w: table with the columns `dataset` and `group`.
        t2w: the same.
        seed: salt of the hash.

    Returns:
        "T1w" or "T2w" for each group.
    """
    groups = {"T1w": set(t1w["group"]), "T2w": set(t2w["group"])}
    both = groups["T1w"] & groups["T2w"]
    sides = {group: name for name in groups for group in groups[name] - both}
    counts = {name: len(groups[name] - both) for name in groups}
    ranked = t1w[t1w["group"].isin(both)].drop_duplicates("group")
    keys = sorted(
        (dataset, hashlib.sha256(f"{seed}:{group}".encode()).hexdigest(), group)
        for dataset, group in zip(ranked["dataset"], ranked["group"], strict=True)
    )
    for _, _, group in keys:
        side = "T1w" if counts["T1w"] <= counts["T2w"] else "T2w"
        sides[group] = side
        counts[side] += 1
    return sides


class GlobalSampler(DistributedSampler[int]):
    """Numbers the samples of a whole training, so that each keeps its number wherever it is drawn.

    Step s (from 0) has the samples s * batch_size and on; each process takes its share of them.
    MONAI's engines call `set_epoch` of a DistributedSampler when an epoch starts, which ignite
    does before it asks the loader for an iterator.

    Args:
        dataset: what is sampled.
        epoch_length: steps of an epoch.
        batch_size: samples of a step, over all processes together.
    """

    def __init__(self, dataset: Sized, *, epoch_length: int, batch_size: int) -> None:
        processes, rank = count_processes(), get_rank()
        if batch_size % processes:
            raise ValueError(
                f"batch_size is {batch_size}; expected a multiple of the {processes} processes."
            )
        super().__init__(dataset, num_replicas=processes, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.epoch_length = epoch_length
        self.batch_size = batch_size
        self.share = batch_size // processes
        self.first_step = 0

    def set_epoch(self, epoch: int) -> None:
        """Start at the first step of an epoch, of which the first is number 1."""
        self.first_step = (epoch - 1) * self.epoch_length

    def set_step(self, step: int) -> None:
        """Start at a step, counted from 0 over the whole training; the epoch ends as ever."""
        self.first_step = step

    def __iter__(self) -> Iterator[int]:
        end = (self.first_step // self.epoch_length + 1) * self.epoch_length
        for step in range(self.first_step, end):
            first = step * self.batch_size + self.rank * self.share
            yield from range(first, first + self.share)

    def __len__(self) -> int:
        return self.epoch_length * self.share


class ShareSampler(Sampler[int]):
    """Numbers the items that this process evaluates: every n-th, where n processes run.

    Where there are fewer items than processes, each evaluates all of them.

    Args:
        dataset: what is evaluated.
    """

    def __init__(self, dataset: Sized) -> None:
        processes = count_processes()
        self.numbers = range(len(dataset))
        if len(dataset) >= processes:
            self.numbers = self.numbers[get_rank() :: processes]

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)
