"""Every sample has one number, and its number alone decides what it is."""

from __future__ import annotations

import pandas as pd
import pytest
from scripts.sampling import GlobalSampler, ShareSampler, assign_sides, derive_seeds, draw_position


def table(*groups: str, dataset: str = "blobs") -> pd.DataFrame:
    return pd.DataFrame({"dataset": dataset, "group": list(groups)})


def sample(sampler: GlobalSampler, *epochs: int) -> list[list[int]]:
    drawn = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        drawn.append(list(sampler))
    return drawn


def test_each_turn_draws_every_entry_once() -> None:
    turns = [
        [draw_position(5 * turn + place, length=5, seed=3, stream="T1w") for place in range(5)]
        for turn in range(20)
    ]
    assert all(sorted(turn) == [0, 1, 2, 3, 4] for turn in turns)
    assert len({tuple(turn) for turn in turns}) > 10


def test_a_position_depends_on_number_seed_and_stream_alone() -> None:
    numbers = [17, 3, 900, 3]
    there = [draw_position(n, length=97, seed=1, stream="T1w") for n in numbers]
    back = [draw_position(n, length=97, seed=1, stream="T1w") for n in reversed(numbers)]
    assert there == back[::-1]
    assert there != [draw_position(n, length=97, seed=2, stream="T1w") for n in numbers]
    assert there != [draw_position(n, length=97, seed=1, stream="T2w") for n in numbers]


def test_augmentation_seeds_differ_between_samples_streams_and_seeds() -> None:
    seeds = derive_seeds(0, [5, 6], stream="t1w") + derive_seeds(0, [5], stream="t2w")
    seeds += derive_seeds(1, [5], stream="t1w")
    assert len(set(seeds)) == 4
    assert derive_seeds(0, [6, 5], stream="t1w") == seeds[1::-1]


def test_sides_are_halves_and_single_contrasts_stay_on_their_own() -> None:
    t1w = table("a", "b", "c", "d", "only_t1w")
    t2w = table("a", "b", "c", "d", "only_t2w")
    sides = assign_sides(t1w, t2w, seed=0)
    assert set(sides) == {"a", "b", "c", "d", "only_t1w", "only_t2w"}
    assert sides["only_t1w"] == "T1w"
    assert sides["only_t2w"] == "T2w"
    assert list(sides.values()).count("T1w") == 3


def test_subjects_with_both_make_up_for_many_with_one_contrast() -> None:
    sides = assign_sides(table("a", "b", "x", "y", "z"), table("a", "b"), seed=0)
    assert sides["a"] == sides["b"] == "T2w"


def test_the_seed_changes_who_is_on_which_side() -> None:
    groups = table(*"abcdefgh")
    assert len({str(sorted(assign_sides(groups, groups, seed=s).items())) for s in range(5)}) > 1


def test_epochs_continue_the_numbering() -> None:
    sampler = GlobalSampler([0], epoch_length=3, batch_size=2)
    assert sample(sampler, 1, 2) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert len(sampler) == 6


def pretend(monkeypatch: pytest.MonkeyPatch, *, processes: int, rank: int) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: processes)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: rank)


def test_processes_share_every_global_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(2):
        pretend(monkeypatch, processes=2, rank=rank)
        shares.append(sample(GlobalSampler([0], epoch_length=2, batch_size=4), 2)[0])
    assert shares == [[8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize(
    ("items", "shares"),
    [(5, [[0, 2, 4], [1, 3]]), (2, [[0], [1]]), (1, [[0], [0]]), (0, [[], []])],
)
def test_processes_share_what_is_evaluated_and_none_goes_without(
    monkeypatch: pytest.MonkeyPatch, items: int, shares: list[list[int]]
) -> None:
    found = []
    for rank in range(2):
        pretend(monkeypatch, processes=2, rank=rank)
        found.append(list(ShareSampler([None] * items)))
    assert found == shares


def test_a_resume_in_mid_epoch_draws_what_is_left_of_it() -> None:
    sampler = GlobalSampler([0], epoch_length=3, batch_size=2)
    sampler.set_step(4)
    assert list(sampler) == [8, 9, 10, 11]


def test_a_batch_that_processes_cannot_share_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, processes=2, rank=0)
    with pytest.raises(ValueError, match="batch_size is 3; expected a multiple of the 2 processes"):
        GlobalSampler([0], epoch_length=1, batch_size=3)
