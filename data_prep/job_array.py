"""A part of the sessions for each job of an array: ``--shard 3/8`` is the third of eight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class JobShard:
    """Which of how many jobs this one is, counted from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


def parse_shard(text: str) -> JobShard | None:
    """Read ``i/n``; None for an empty text.

    Raises:
        ValueError: another form, or an index that is not between 1 and n.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(
            f"shard {text!r}. Expected i/n with i from 1 to n, for example 1/8 for the first job."
        )
    return JobShard(int(match[1]), int(match[2]))


def select_shard(items: Sequence[Item], shard: JobShard | None) -> list[Item]:
    """Every n-th item from the i-th on, so that all jobs have parts of every dataset."""
    return list(items) if shard is None else list(items[shard.index - 1 :: shard.count])
