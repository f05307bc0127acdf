"""A training with MONAI's `--tracking mlflow`, as the extra `mlflow` makes it possible."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.evaluation.evaluator import FIGURE_NAMES
from scripts.experiment_tracking import find_config

from tests.slice_dataset_fixture import write_slice_dataset
from tests.training_runs import train


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_losses_figures_and_the_config_are_logged_inside_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    dataset_dir, output_dir = write_slice_dataset(tmp_path / "data"), tmp_path / "out"
    options = {"tracking": "mlflow", "learning_gif_subjects": 1}
    workflow = train(dataset_dir, output_dir, **options)  # two epochs of three steps

    client = tracking.MlflowClient(f"sqlite:///{output_dir}/mlruns.db")
    experiment = client.get_experiment_by_name("monai_experiment")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"max_epochs": "2", "epoch_length": "3"}

    def read(name: str) -> dict[int, float]:
        return {
            point.step: point.value for point in client.get_metric_history(run.info.run_id, name)
        }

    state = workflow.parser.get_parsed_content("train#trainer").state
    for name, value in state.losses.items():
        assert list(read(name)) == [2, 3, 4, 6]  # every second, and each epoch's last
        assert read(name)[6] == value
    assert read("learning_rate")[6] == 0.0002
    figures = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
    for name in FIGURE_NAMES:
        assert list(read(name)) == [1, 2]  # epochs
        assert read(name)[2] == figures[name]
    assert set(run.data.metrics) == {*state.losses, "learning_rate", *FIGURE_NAMES}

    (artifact,) = client.list_artifacts(run.info.run_id)
    assert (output_dir / artifact.path).is_file()
    assert run.info.artifact_uri.startswith(f"file://{output_dir}/mlruns/")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}
    names = {path.name for path in output_dir.iterdir()}
    assert {"checkpoint_00000006.pt", "model.pt", "tensorboard", "learning_t2w.gif"} <= names


def test_the_config_that_monai_saved_is_found_in_spite_of_its_broken_name(tmp_path: Path) -> None:
    config = tmp_path / "config_20260101_000000.json"
    broken = f"{tmp_path} + '/{config.name}'"
    assert find_config(broken, str(tmp_path)) == str(config)
    config.write_text("{}")
    assert find_config(str(config), "elsewhere") == str(config)
