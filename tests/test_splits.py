"""Parts are dealt out by group, once and for all."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from data_prep.bids import ScanSession
from data_prep.source_records import PlannedDataset, read_sources, save_sources
from data_prep.splits import SPLITS, DatasetGroup, assign_splits, read_groups


def groups_of(dataset: str, count: int, first: int = 0) -> list[DatasetGroup]:
    return [(dataset, f"{dataset}_g{number}") for number in range(first, first + count)]


def count_parts(assigned: dict[DatasetGroup, str], dataset: str) -> dict[str, int]:
    return dict(Counter(part for (where, _), part in assigned.items() if where == dataset))


def test_the_order_is_that_of_sha256sum() -> None:
    # for i in 0 .. 9: printf 's\ng%d' $i | sha256sum; sorted: g1 g6 g7 g8 g9 g0 g5 g2 g4 g3
    pairs = [("a", f"g{number}") for number in range(10)]
    assigned = assign_splits(pairs, hold_out=[], existing={}, salt="s")
    assert assigned.pop(("a", "g1")) == "validation"
    assert assigned.pop(("a", "g6")) == "test"
    assert set(assigned.values()) == {"train"}


@pytest.mark.parametrize(
    ("count", "train", "validation", "test"),
    [
        (1, 1, 0, 0),
        (2, 2, 0, 0),
        (3, 1, 1, 1),
        (4, 2, 1, 1),
        (10, 8, 1, 1),
        (24, 20, 2, 2),
        (66, 52, 7, 7),
        (78, 62, 8, 8),
    ],
)
def test_each_dataset_is_dealt_out_80_10_10(
    count: int, train: int, validation: int, test: int
) -> None:
    pairs = groups_of("a", count) + groups_of("b", 30)
    parts = count_parts(assign_splits(pairs, hold_out=[], existing={}), "a")
    expected = {"train": train, "validation": validation, "test": test}
    assert parts == {part: number for part, number in expected.items() if number}


def test_neither_order_nor_other_datasets_nor_repeats_matter() -> None:
    pairs = groups_of("a", 40)
    alone = assign_splits(pairs, hold_out=[], existing={})
    mixed = pairs * 2 + groups_of("b", 7)
    random.Random(0).shuffle(mixed)
    together = assign_splits(mixed, hold_out=[], existing={})
    assert {pair: together[pair] for pair in pairs} == alone


def test_another_salt_is_another_draw() -> None:
    pairs = groups_of("a", 40)
    draws = [assign_splits(pairs, hold_out=[], existing={}, salt=salt) for salt in ("one", "two")]
    assert draws[0] != draws[1]


@pytest.mark.parametrize("seed", range(8))
def test_what_grows_keeps_what_is_stored_and_no_group_is_on_two_sides(seed: int) -> None:
    generator = random.Random(seed)
    stored: dict[DatasetGroup, str] = {}
    pairs: list[DatasetGroup] = []
    for step in range(6):
        name = generator.choice("abc")
        pairs += groups_of(name, generator.randint(1, 12), first=100 * step)
        if generator.random() < 0.5:  # patients that two of the datasets share
            pairs += [(generator.choice("abc"), generator.choice(pairs)[1])]
        assigned = assign_splits(pairs, hold_out=[], existing=stored)
        assert {pair: assigned[pair] for pair in stored} == stored
        assert set(assigned) == set(pairs)
        sides = defaultdict(set)
        for (_, group), part in assigned.items():
            sides[group].add(part)
        assert all(len(parts) == 1 for parts in sides.values())
        stored = assigned


def test_later_groups_bring_the_parts_up_to_their_share() -> None:
    first = assign_splits(groups_of("a", 2), hold_out=[], existing={})
    assert count_parts(first, "a") == {"train": 2}
    second = assign_splits(groups_of("a", 4), hold_out=[], existing=first)
    assert count_parts(second, "a") == {"train": 2, "validation": 1, "test": 1}
    third = assign_splits(groups_of("a", 50), hold_out=[], existing=second)
    assert count_parts(third, "a") == {"train": 40, "validation": 5, "test": 5}


def test_a_stored_group_that_is_gone_keeps_its_place() -> None:
    stored = {("gone", "x"): "test"}
    assert assign_splits([("gone", "y")], hold_out=[], existing=stored)["gone", "x"] == "test"


def test_a_held_out_dataset_is_external_and_takes_shared_groups_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pairs = [*groups_of("a", 10), *groups_of("b", 3), ("a", "shared"), ("b", "shared")]
    assigned = assign_splits(pairs, hold_out=["b"], existing={})
    assert count_parts(assigned, "b") == {"external": 4}
    assert count_parts(assigned, "a") == {"train": 8, "validation": 1, "test": 1, "external": 1}
    assert "group shared is external in a too" in caplog.text


def test_a_dataset_whose_only_group_so_far_is_shared_with_a_held_out_one_is_not_held_out() -> None:
    shared = [("a", "shared"), ("b", "shared")]
    first = assign_splits(shared, hold_out=["b"], existing={})
    later = assign_splits([*shared, *groups_of("a", 10)], hold_out=["b"], existing=first)
    assert count_parts(later, "a") == {"train": 8, "validation": 1, "test": 1, "external": 1}


def test_what_trained_cannot_be_held_out_later() -> None:
    stored = assign_splits(groups_of("a", 1), hold_out=[], existing={})
    with pytest.raises(ValueError, match="a cannot be held out: its group a_g0 is in the part tra"):
        assign_splits(groups_of("a", 2), hold_out=["a"], existing=stored)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({("a", "x"): "train", ("b", "x"): "test"}, "group x of b is in 'test', expected train"),
        ({("a", "x"): "val"}, f"is in 'val', expected {', '.join(SPLITS)}"),
    ],
)
def test_a_store_that_cannot_be_right_is_an_error(
    stored: dict[DatasetGroup, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        assign_splits([("a", "x")], hold_out=[], existing=stored)


def test_groups_are_read_with_labels_as_strings(tmp_path: Path) -> None:
    path = tmp_path / "groups.tsv"
    path.write_bytes(b"\xef\xbb\xbfsubject\tdataset\tgroup\tnote\r\n007\ta\tx\t\r\nsub-07\ta\ty\t")
    assert read_groups(path) == {("a", "sub-007"): "x", ("a", "sub-07"): "y"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset\tgroup\na\tx\n", r"no column subject. Found: \['dataset', 'group'\]"),
        ("dataset,subject,group\n", "Expected a tab-separated table"),
        ("", "no column dataset, group, subject. Found: None"),
        ("dataset\tsubject\tgroup\na\t01\n", "line 2: a value is missing"),
        ("dataset\tsubject\tgroup\na\t01\tx\na\tsub-01\ty\n", "line 3: a sub-01 is in two groups"),
    ],
)
def test_a_table_with_a_fault_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "groups.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_groups(path)
    with pytest.raises(FileNotFoundError, match="absent.tsv: no such table"):
        read_groups(tmp_path / "absent.tsv")


def test_the_two_cohorts_of_one_hospital_land_on_one_side(shared_data: Path) -> None:
    groups = read_groups(shared_data / "groups.tsv")
    assert set(groups.values()) == {"ljubljana"}
    pairs = {(dataset, group) for (dataset, _), group in groups.items()}
    assigned = assign_splits([*pairs, *groups_of("ixi", 30)], hold_out=[], existing={})
    assert assigned["openms_raw", "ljubljana"] == assigned["openms_mni", "ljubljana"] == "train"
    assert count_parts(assigned, "ixi") == {"train": 24, "validation": 3, "test": 3}


def plan_site(dataset: str, site: str) -> PlannedDataset:
    sessions = [
        ScanSession(dataset, subject, None, Path(f"{subject}_T1w.nii"), None)
        for subject in ("sub-01", "sub-02")
    ]
    about = {"name": dataset, "version": ""}
    return PlannedDataset(dataset, Path(dataset), sessions, [], about, None, False, site)


def test_a_person_who_was_scanned_at_two_sites_is_not_split_by_site(tmp_path: Path) -> None:
    person = {("a", "sub-01"): "person", ("b", "sub-01"): "person"}
    apart, together = ([plan_site("a", "x"), plan_site("b", site)] for site in ("y", "x"))
    message = "a_sub-01 and b_sub-01 in one group, person, .* as site:x and site:y. Leave out --spl"
    with pytest.raises(ValueError, match=message):
        save_sources(tmp_path / "apart", apart, person, split_by_site=True)
    assert not (tmp_path / "apart").exists()
    save_sources(tmp_path / "together", together, person, split_by_site=True)
    assert read_sources(tmp_path / "together")["b"]["groups"]["b_sub-01"] == "site:x"
    save_sources(tmp_path / "apart", apart, person, split_by_site=False)
    assert read_sources(tmp_path / "apart")["b"]["groups"]["b_sub-01"] == "person"


def test_a_person_of_an_earlier_run_counts_too(tmp_path: Path) -> None:
    save_sources(tmp_path, [plan_site("a", "x")], {}, split_by_site=False)
    person = {("a", "sub-01"): "person", ("b", "sub-01"): "person"}
    with pytest.raises(ValueError, match="apart, as a_sub-01 and person"):
        save_sources(tmp_path, [plan_site("b", "y")], person, split_by_site=False)
