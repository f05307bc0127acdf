"""Models to choose among: how they are found and called."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.evaluation.candidates import find_candidates

from tests.training_runs import write_models


def test_candidates_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / run / "checkpoint_00000005.pt" for run in ("a.v1", "a.v2")]
    for path in paths:
        path.parent.mkdir()
        path.touch()
    found = find_candidates(",".join(map(str, paths)))
    assert [each.label for each in found] == ["a.v1", "a.v2"]
    assert [each.label for each in find_candidates([str(paths[0])])] == ["checkpoint_00000005"]


@pytest.mark.parametrize("row", ["real", "copy", "inverted", "mean", "lookup"])
def test_a_candidate_does_not_take_the_name_of_another_row(tmp_path: Path, row: str) -> None:
    write_models(tmp_path / row)
    assert [each.label for each in find_candidates(str(tmp_path / row))] == [f"{row} (model)"]


def test_a_folder_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    folders = [write_models(tmp_path / name) for name in ("run[1]", "run1")]
    assert [each.path for each in find_candidates(str(folders[0]))] == [folders[0]]
    assert len(find_candidates(str(tmp_path / "run*"))) == 2


def test_no_model_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected a checkpoint_\*\.pt"):
        find_candidates(str(tmp_path))
