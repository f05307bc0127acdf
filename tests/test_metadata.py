"""What the bundle says about itself: valid for the Model Zoo, and true."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from monai.bundle import verify_metadata

PROJECT = Path(__file__).resolve().parents[1]
METADATA = PROJECT / "bundle" / "configs" / "metadata.json"


@pytest.fixture(scope="module")
def metadata() -> dict[str, Any]:
    return json.loads(METADATA.read_text())


@pytest.fixture(scope="module")
def schema_file(shared_data: Path) -> Path:
    file = shared_data.parent / "schema" / "meta_schema_20240725.json"
    if not file.is_file():
        pytest.skip(f"no schema at {file}")
    return file


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pins = (re.match(r"([\w.-]+)==([^\s;#]+)", line) for line in lines)
    return {pin[1].lower(): pin[2].partition("+")[0] for pin in pins if pin}


def test_metadata_is_valid_against_the_schema_that_the_model_zoo_uses(
    metadata: dict[str, Any], schema_file: Path
) -> None:
    assert metadata["schema"].endswith("/releases/download/0.8.1/" + schema_file.name)
    jsonschema.validate(metadata, json.loads(schema_file.read_text()))


@pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning")
def test_monai_verifies_the_metadata_without_a_network(schema_file: Path, tmp_path: Path) -> None:
    offline = tmp_path / "eval" / "schema.json"
    offline.parent.mkdir()
    shutil.copyfile(schema_file, offline)
    verify_metadata(meta_file=os.fspath(METADATA), filepath=offline)


def test_metadata_is_printed_as_the_model_zoo_prints_it(metadata: dict[str, Any]) -> None:
    assert METADATA.read_text() == json.dumps(metadata, indent=4, ensure_ascii=False) + "\n"


def test_the_newest_entry_of_the_changelog_is_this_version(metadata: dict[str, Any]) -> None:
    assert next(iter(metadata["changelog"])) == metadata["version"]
    assert f'version = "{metadata["version"]}"' in (PROJECT / "pyproject.toml").read_text()


def test_the_named_versions_are_those_that_the_tests_run_with(
    metadata: dict[str, Any], constraints: dict[str, str]
) -> None:
    named = {
        name.lower(): version for name, version in metadata["required_packages_version"].items()
    }
    named |= {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
    }
    assert named == {name: constraints.get(name) for name in named}


def test_every_package_that_the_bundle_imports_is_named(metadata: dict[str, Any]) -> None:
    imported: set[str] = set()
    for file in (PROJECT / "bundle" / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    tuning = {"optuna", "plotly", "sqlalchemy"}
    own_or_optional = {"scripts", "nnunetv2", "onnxruntime", *tuning, *sys.stdlib_module_names}
    distributions = packages_distributions()
    packages = {distributions[name][0].lower() for name in imported - own_or_optional}
    named = {name.lower() for name in metadata["required_packages_version"]}
    assert packages - named - {"monai", "torch", "numpy"} == set()


@pytest.mark.parametrize(
    ("block", "source", "target"),
    [("network_data_format", "T1w", "T2w"), ("t2w_to_t1w_data_format", "T2w", "T1w")],
)
def test_each_generator_says_what_goes_in_and_what_comes_out(
    metadata: dict[str, Any], block: str, source: str, target: str
) -> None:
    image, pred = metadata[block]["inputs"]["image"], metadata[block]["outputs"]["pred"]
    assert image["channel_def"] == {"0": source}
    assert pred["channel_def"] == {"0": target}
    assert image["value_range"] == pred["value_range"] == [-1, 1]


def test_the_bundle_carries_the_licence_of_the_project() -> None:
    licence = (PROJECT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert (PROJECT / "bundle" / "LICENSE").read_text() == licence
