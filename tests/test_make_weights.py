"""The command that leads from label maps to weights and their figures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.label_map_fixture import draw_labels, write_label_map
from tests.make_target import SMALL, make
from tests.small_heads import save_dataset

pytestmark = pytest.mark.slow


def test_label_maps_become_weights_measured_on_heads_and_on_scans(tmp_path: Path) -> None:
    for number in range(4):
        labels = draw_labels(scale=0.8 + 0.05 * number)
        write_label_map(tmp_path / "maps" / f"seg_{number}.nii.gz", labels)
    out, scans = tmp_path / "out", tmp_path / "scans"
    save_dataset(scans, pairs=1)
    said = make(
        "weights", WEIGHTS=str(out), MAPS=str(tmp_path / "maps"), SESSIONS="1",
        SCANS=str(scans), SCAN_OPTIONS="--brain_extraction scans=none",
        TRAINING_OPTIONS=SMALL,
    )  # fmt: skip
    weights = (out / "run" / "model.pt").read_bytes()
    assert f"{hashlib.sha256(weights).hexdigest()}  {out}/run/model.pt" in said
    for name, datasets in (("evaluation", ["labels"]), ("evaluation_scans", ["scans"])):
        summary = json.loads((out / "run" / name / "summary.json").read_text())
        assert summary["datasets"] == datasets
        assert (out / "run" / name / "report.html").is_file()
