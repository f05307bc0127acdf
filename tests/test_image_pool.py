"""The image pool keeps every image once, forgets in the published way and resumes exactly."""

from __future__ import annotations

import io
from collections import Counter

import pytest
import torch
from scripts.image_pool import ImagePool
from torch import Tensor


def number_images(*numbers: int) -> Tensor:
    """One-pixel images that show a number."""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1)


def read_numbers(images: Tensor) -> list[int]:
    return [int(number) for number in images.flatten()]


def save_and_load(state: dict[str, Tensor]) -> dict[str, Tensor]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_without_room_every_image_passes() -> None:
    pool = ImagePool(size=0, seed=1)
    assert read_numbers(pool.query(number_images(4, 5))) == [4, 5]
    assert len(pool) == 0


def test_until_it_is_full_the_pool_returns_what_it_stores() -> None:
    pool = ImagePool(size=5, seed=1)
    assert read_numbers(pool.query(number_images(1, 2, 3))) == [1, 2, 3]
    assert read_numbers(pool.query(number_images(4, 5))) == [4, 5]
    assert read_numbers(pool.state_dict()["images"]) == [1, 2, 3, 4, 5]


def test_a_full_pool_returns_each_image_at_once_or_stores_it_for_an_earlier_one() -> None:
    pool = ImagePool(size=4, seed=1)
    before = Counter(read_numbers(pool.query(number_images(0, 1, 2, 3))))
    for start in range(4, 204, 10):
        queried = range(start, start + 10)  # more than the pool holds, so that some come back
        returned = read_numbers(pool.query(number_images(*queried)))
        after = Counter(read_numbers(pool.state_dict()["images"]))
        assert before + Counter(queried) == after + Counter(returned)
        assert all(new == old or old < new for new, old in zip(queried, returned, strict=True))
        before = after


def test_a_full_pool_keeps_half_of_the_images_and_replaces_every_place_alike() -> None:
    pool = ImagePool(size=10, seed=1)
    pool.query(number_images(*range(10)))
    returned = [read_numbers(pool.query(number_images(n)))[0] == n for n in range(10, 4010)]
    assert 0.47 < sum(returned) / 4000 < 0.53  # 4 standard deviations are .032
    ages = 4010 - pool.state_dict()["images"].flatten()
    assert 5 < ages.mean() < 60  # a place is replaced every 20 queries


def test_returned_images_are_detached() -> None:
    for size in (0, 1):
        images = number_images(1, 2).requires_grad_()
        assert not ImagePool(size=size, seed=1).query(images).requires_grad


def test_the_pool_does_not_follow_later_changes_of_the_batch() -> None:
    pool, images = ImagePool(size=2, seed=1), number_images(1, 2)
    pool.query(images)
    images.zero_()
    assert read_numbers(pool.state_dict()["images"]) == [1, 2]


def test_half_precision_stays() -> None:
    pool = ImagePool(size=2, seed=1)
    assert [pool.query(number_images(1, 2, 3).bfloat16()).dtype for _ in range(2)] == [
        torch.bfloat16
    ] * 2


@pytest.mark.parametrize("batches", [0, 1, 7])
def test_a_restored_pool_goes_on_as_if_it_had_never_stopped(batches: int) -> None:
    pool, restored = ImagePool(size=5, seed=1), ImagePool(size=5, seed=2)
    for start in range(batches):
        pool.query(number_images(start, start + 100))
    restored.load_state_dict(save_and_load(pool.state_dict()))
    for start in range(500, 530):
        images = number_images(start, start + 100)
        assert torch.equal(restored.query(images), pool.query(images))
    assert torch.equal(restored.state_dict()["images"], pool.state_dict()["images"])


def test_a_pool_that_is_too_small_for_its_saved_images_says_so() -> None:
    pool = ImagePool(size=3, seed=1)
    pool.query(number_images(1, 2, 3))
    with pytest.raises(ValueError, match=r"holds 3 images, this one at most 2"):
        ImagePool(size=2, seed=1).load_state_dict(pool.state_dict())


def test_torchs_own_randomness_is_left_alone() -> None:
    before = torch.get_rng_state()
    pool = ImagePool(size=1, seed=1)
    pool.query(number_images(*range(20)))
    assert torch.equal(torch.get_rng_state(), before)
