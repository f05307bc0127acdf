"""The arrows between the parts of this project, and the size of their files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((PROJECT / "bundle" / "scripts").rglob("*.py"))
DATA_PREP = sorted((PROJECT / "data_prep").rglob("*.py"))


def list_imports(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).split(".")[0])
    return names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_bundle_stands_alone(path):
    assert not list_imports(path) & {"data_prep", "tests", "bundle"}


@pytest.mark.parametrize("path", DATA_PREP, ids=lambda path: path.stem)
def test_data_prep_reaches_the_bundle_only_through_its_configs(path):
    assert not list_imports(path) & {"scripts", "bundle", "tests"}


@pytest.mark.parametrize("path", [*SCRIPTS, *DATA_PREP], ids=lambda path: path.stem)
def test_a_file_has_one_subject(path):
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize("path", [*SCRIPTS, *DATA_PREP], ids=lambda path: path.stem)
def test_no_function_is_longer_than_forty_lines(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert length <= 40, f"{node.name}: {length} lines"


def test_openneuro_is_called_in_one_file_at_most():
    users = [path.name for path in [*SCRIPTS, *DATA_PREP] if "openneuro" in list_imports(path)]
    assert len(users) <= 1
