"""Which groups of subjects train, validate and test: stored once, never changed by a later run."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

logger = logging.getLogger(__name__)

# A dataset and a group of subjects in it. A group may lie in several datasets.
DatasetGroup = tuple[str, str]

SPLITS = ("train", "validation", "test", "external")
# 80 / 10 / 10 of the groups of a dataset; what is left after these two trains.
FRACTIONS = {"validation": 0.1, "test": 0.1}
# With fewer groups than parts all of them train.
SMALLEST_SPLIT = 3
# Changing it would deal out every new dataset differently.
SALT = "t1w-t2w 1"
COLUMNS = ("dataset", "subject", "group")
# Groups of this prefix are whole sites; they are dealt out over all datasets together.
SITE_PREFIX = "site:"


def read_groups(path: Path) -> dict[tuple[str, str], str]:
    """Group of each (dataset, subject) in a table with the columns dataset, subject and group.

    Subjects are given with or without ``sub-``; those that are not named are their own group.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: a column or a value is missing, or a subject is in two groups.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table of groups.")
    groups: dict[tuple[str, str], str] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if missing := set(COLUMNS).difference(reader.fieldnames or ()):
            raise ValueError(
                f"{path}: no column {', '.join(sorted(missing))}. Found: {reader.fieldnames}. "
                f"Expected a tab-separated table with {', '.join(COLUMNS)}."
            )
        for row in reader:
            dataset, subject, group = (row[column] for column in COLUMNS)
            if not (dataset and subject and group) or group == "n/a":
                raise ValueError(f"{path}, line {reader.line_num}: a value is missing in {row}.")
            subject = f"sub-{subject.removeprefix('sub-')}"
            if groups.setdefault((dataset, subject), group) != group:
                raise ValueError(
                    f"{path}, line {reader.line_num}: {dataset} {subject} is in two groups, "
                    f"{groups[dataset, subject]} and {group}. Keep one."
                )
    return groups


def read_splits(path: Path) -> dict[DatasetGroup, str]:
    """Part of each (dataset, group) of an earlier run; empty where there was none."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {(row["dataset"], row["group"]): row["split"] for row in rows}


def assign_splits(
    pairs: Iterable[DatasetGroup],
    *,
    hold_out: Sequence[str],
    existing: Mapping[DatasetGroup, str],
    salt: str = SALT,
) -> dict[DatasetGroup, str]:
    """Give every group one part, in all its datasets: train, validation, test or external.

    The groups of a dataset are dealt out 80 / 10 / 10 in the order of a salted hash of their
    names; from three groups on each part gets one, with one or two all of them train. What is
    stored stays: later groups fill the parts that are short. A group in several datasets counts in
    the first by name; groups that are sites are dealt out over all datasets
    together. One in a dataset that is held out is external everywhere, since an external test must
    share no patient with training.

    Args:
        pairs: every (dataset, group).
        hold_out: datasets that are external, those of earlier runs too.
        existing: earlier assignments.
        salt: text that makes another draw.

    Raises:
        ValueError: earlier assignments contradict each other or what is to be held out.
    """
    datasets_of: dict[str, set[str]] = defaultdict(set)
    for dataset, group in pairs:
        datasets_of[group].add(dataset)
    parts = _read_stored(existing)
    _hold_out(datasets_of, set(hold_out), parts)
    at_home: dict[str, list[str]] = defaultdict(list)
    for group, datasets in datasets_of.items():
        if parts.get(group) != "external":
            home = "all sites" if group.startswith(SITE_PREFIX) else min(datasets)
            at_home[home].append(group)
    for dataset, groups in sorted(at_home.items()):
        if len(groups) < SMALLEST_SPLIT:
            logger.info("%s: %d group(s), too few to split, all train", dataset, len(groups))
        parts.update(_deal_out(groups, parts, salt))
    dealt = {(d, group): parts[group] for group, datasets in datasets_of.items() for d in datasets}
    return {**dealt, **existing}


def _read_stored(existing: Mapping[DatasetGroup, str]) -> dict[str, str]:
    """Part of each stored group; ValueError where the store cannot be right."""
    parts: dict[str, str] = {}
    for (dataset, group), part in existing.items():
        if part not in SPLITS or parts.setdefault(group, part) != part:
            raise ValueError(
                f"stored splits: group {group} of {dataset} is in {part!r}, expected "
                f"{parts.get(group) or ', '.join(SPLITS)}. Build into a new folder."
            )
    return parts


def _hold_out(
    datasets_of: Mapping[str, set[str]], held_out: Set[str], parts: dict[str, str]
) -> None:
    """Make the groups of held-out datasets external, in place."""
    for group, datasets in datasets_of.items():
        held, others = sorted(datasets & held_out), sorted(datasets - held_out)
        if not held:
            continue
        if parts.setdefault(group, "external") != "external":
            raise ValueError(
                f"{', '.join(held)} cannot be held out: its group {group} is in the part "
                f"{parts[group]} already, and splits never change. Build into a new folder."
            )
        if others:
            logger.warning("group %s is external in %s too", group, ", ".join(others))


def _deal_out(groups: Sequence[str], parts: Mapping[str, str], salt: str) -> dict[str, str]:
    """Parts of those groups of one dataset that have none yet."""
    enough = len(groups) >= SMALLEST_SPLIT
    short = {
        part: max(1, round(fraction * len(groups))) if enough else 0
        for part, fraction in FRACTIONS.items()
    }
    for group in groups:
        if parts.get(group) in short:
            short[parts[group]] -= 1
    dealt: dict[str, str] = {}
    for group in sorted(set(groups) - set(parts), key=lambda group: rank_group(group, salt)):
        part = next((part for part, missing in short.items() if missing > 0), "train")
        if part in short:
            short[part] -= 1
        dealt[group] = part
    return dealt


def rank_group(group: str, salt: str) -> str:
    """What groups are ordered by: the same on every machine, and unlike their names' order."""
    return hashlib.sha256(f"{salt}\n{group}".encode()).hexdigest()
