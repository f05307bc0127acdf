"""Fixtures that several test files use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openneuro_server import OpenNeuroServer, running_server
from tests.slice_dataset_fixture import write_slice_dataset

PROJECT = Path(__file__).resolve().parents[1]
# These files take longest. Begun first, none keeps one core busy when the other has ended.
FIRST = [
    "test_evaluation", "test_tuning", "test_resume", "test_plain_training",
    "test_label_simulation", "test_interruptions", "test_build", "test_inference",
    "test_bad_scans", "test_models_in_the_box", "test_methods", "test_processes",
]  # fmt: skip
collect_ignore = ["zoo"]  # in the Model Zoo's form; test_zoo.py runs it as the Zoo does


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by file; the tests of a file stay in their order."""
    ranks = {name: rank for rank, name in enumerate(FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(FIRST)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("T1T2_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}")
    return folder


@pytest.fixture(scope="session")
def openneuro_trees(shared_data: Path) -> Path:
    """Published file lists of OpenNeuro; tests that need them are skipped where they are absent."""
    folder = shared_data.parent / "openneuro_trees"
    if not folder.is_dir():
        pytest.skip(f"no file lists at {folder}")
    return folder


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice dataset of blobs, of each file of tests its own."""
    return write_slice_dataset(tmp_path_factory.mktemp("blobs"))


@pytest.fixture
def openneuro_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenNeuroServer]:
    """A server in OpenNeuro's place, for this process and those that it starts."""
    with running_server() as server:
        for name, value in server.environment(tmp_path / "config").items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def bundle_root() -> Path:
    """The bundle as it stands in this checkout."""
    return PROJECT / "bundle"
