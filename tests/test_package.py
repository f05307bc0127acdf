"""The packaged bundle: what is in it, that it runs as it is, and what stops it from being made."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import monai.bundle
import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from scripts.described_weights import mark_card
from scripts.networks import PatchDiscriminator
from scripts.package import NAME, check_version, main, package
from scripts.package_archive import format_large_files
from scripts.shipped_models import DISCRIMINATOR_FILES, load_discriminators

from tests.inference_config import BUNDLE
from tests.packaged_bundle import SIZES, run_inference, save_models, save_package
from tests.small_heads import save_head

VERSION = json.loads((BUNDLE / "configs" / "metadata.json").read_text())["version"]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory) -> Path:
    return save_package(tmp_path_factory.mktemp("packaged"))


def list_names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_the_archive_holds_the_folder_under_the_bundles_name_and_nothing_else(packaged):
    with zipfile.ZipFile(packaged.parent / f"{NAME}_v{VERSION}.zip") as archive:
        assert archive.testzip() is None
        expected = [f"{NAME}/{name}" for name in list_names(packaged)]
        assert sorted(archive.namelist()) == expected
    assert sorted(path.name for path in packaged.parent.iterdir()) == [
        NAME, f"{NAME}_v{VERSION}.zip"
    ]  # fmt: skip


def test_it_holds_what_the_zoo_wants_and_no_trace_of_use(packaged):
    names = list_names(packaged)
    assert {name.split("/")[0] for name in names} == {
        "LICENSE", "configs", "docs", "models", "scripts"
    }  # fmt: skip
    for wanted in ("configs/metadata.json", "docs/README.md", "docs/data_license.txt"):
        assert wanted in names
    assert [name for name in names if name.startswith("models/")] == [
        "models/model.pt",
        "models/model_t2w_to_t1w.pt",
    ]
    kinds = {
        ".py",
        ".json",
        ".conf",
        ".md",
        ".txt",
        ".png",
        ".html",
        ".css",
        ".js",
        ".j2",
        ".pt",
        "",
    }
    assert {Path(name).suffix for name in names} <= kinds
    own = {name for name in names if not name.startswith("models/")}
    assert own <= set(list_names(BUNDLE))


def test_what_python_and_training_leave_behind_stays_out(tmp_path, monkeypatch):
    copy = tmp_path / "bundle"
    shutil.copytree(BUNDLE, copy, ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    litter = ["scripts/__pycache__/a.pyc", "docs/.DS_Store", "scripts/run.log", "configs/old.pt"]
    litter += ["outputs/run/checkpoint_00000001.pt", "models/model.pt", "eval/schema.json"]
    for name in litter:
        (copy / name).parent.mkdir(exist_ok=True, parents=True)
        (copy / name).write_text("litter")
    monkeypatch.setattr("scripts.package.BUNDLE", copy)
    names = list_names(save_package(tmp_path))
    assert [name for name in litter if name in names] == ["models/model.pt"]


def test_its_bytes_are_the_same_again_at_another_time(packaged, tmp_path):
    again = save_package(tmp_path)
    name = f"{NAME}_v{VERSION}.zip"
    assert (again.parent / name).read_bytes() == (packaged.parent / name).read_bytes()
    with zipfile.ZipFile(again.parent / name) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
        assert archive.namelist() == sorted(archive.namelist())


def test_its_configs_are_those_of_the_sizes_that_were_given(tmp_path):
    bundle = save_package(tmp_path, slices=3, slice_distance_mm=1.5)
    for name in ("inference", "train"):
        config = json.loads((bundle / "configs" / f"{name}.json").read_text())
        assert {size: config[size] for size in SIZES} == SIZES | {"slices": 3}
        assert config["slice_distance_mm"] == 1.5
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    for block in ("network_data_format", "t2w_to_t1w_data_format"):
        assert metadata[block]["inputs"]["image"]["num_channels"] == 3
        assert metadata[block]["outputs"]["pred"]["num_channels"] == 3


def test_configs_stay_as_they_are_when_no_size_is_given(tmp_path):
    defaults = json.loads((BUNDLE / "configs" / "inference.json").read_text())
    models = save_models(tmp_path, **{size: defaults[size] for size in SIZES})
    package(str(tmp_path / "out"), models_dir=str(models))
    for name in ("inference", "train"):
        path = Path("configs") / f"{name}.json"
        assert (tmp_path / "out" / NAME / path).read_text() == (BUNDLE / path).read_text()


def test_the_bundles_own_weights_are_packaged_as_they_are_described(tmp_path):
    package(str(tmp_path), models_dir=str(BUNDLE / "models"))
    for path in ("configs/metadata.json", "docs/README.md"):
        assert (tmp_path / NAME / path).read_bytes() == (BUNDLE / path).read_bytes()


def test_of_other_weights_nothing_is_said_that_is_of_the_bundles_own(packaged):
    metadata = json.loads((packaged / "configs" / "metadata.json").read_text())
    own = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    assert own["eval_metrics"]
    assert metadata == {
        **{name: value for name, value in own.items() if name != "weights"},
        "eval_metrics": {},
    }
    card = (packaged / "docs" / "README.md").read_text()
    top = card[: card.index("<!-- end of other weights -->")]
    assert "The weights here are not those that this card was written about." in top
    for path in (packaged / "models").iterdir():
        assert f"| `models/{path.name}` | {hashlib.sha256(path.read_bytes()).hexdigest()} |" in top


def test_a_marked_card_is_marked_once(packaged, tmp_path):
    """Who packages from a package speaks of the newest weights alone."""
    card = (packaged / "docs" / "README.md").read_text()
    (tmp_path / "model.pt").write_bytes(b"others")
    again = mark_card(card, [tmp_path / "model.pt"])
    assert again.count("The weights here are not") == 1
    assert hashlib.sha256(b"others").hexdigest() in again
    original = (BUNDLE / "docs" / "README.md").read_text()
    assert mark_card(original, [tmp_path / "model.pt"]) == again


def test_the_unpacked_archive_translates_a_scan_with_no_project_on_the_path(packaged, tmp_path):
    scan = save_head(tmp_path / "heads", "sub-01", "T1w", seed=1)
    with zipfile.ZipFile(packaged.parent / f"{NAME}_v{VERSION}.zip") as archive:
        archive.extractall(tmp_path)
    run_inference(tmp_path / NAME, scan, tmp_path / "out")
    assert (tmp_path / "out" / "sub-01_space-T1w_desc-synthetic_T2w.nii.gz").is_file()


@pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning")
def test_monai_downloads_the_archive(packaged, tmp_path):
    archive = packaged.parent / f"{NAME}_v{VERSION}.zip"
    monai.bundle.download(NAME, bundle_dir=tmp_path, url=archive.as_uri(), progress=False)
    assert list_names(tmp_path / NAME) == list_names(packaged)


@pytest.mark.parametrize("place", ["trained/discriminators", "discriminators"])
def test_discriminators_come_along_for_those_who_fine_tune(tmp_path, place):
    models = save_models(tmp_path / ("trained" if place.startswith("trained") else "models"))
    judges = save_discriminators(tmp_path / place, features=6)
    (judges / "sizes.json").write_text('{"discriminator_downsamplings": 4}')
    judged = {"discriminator_features": 6, "discriminator_downsamplings": 4}
    package(str(tmp_path), models_dir=str(models), **judged, **SIZES)
    bundle = tmp_path / NAME
    for path in judges.iterdir():
        assert (bundle / "discriminators" / path.name).read_bytes() == path.read_bytes()
    config = ConfigParser(json.loads((bundle / "configs" / "train.json").read_text()))
    networks = {
        "t1w": config.get_parsed_content("discriminator_def"),
        "t2w": config.get_parsed_content("discriminator_def_t2w"),
    }
    load_discriminators(str(bundle / "discriminators"), networks)
    with zipfile.ZipFile(tmp_path / f"{NAME}_v{VERSION}.zip") as archive:
        assert f"{NAME}/discriminators/discriminator_t2w.pt" in archive.namelist()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other size", "Pass the --discriminator_features, .*move .* away"),
        ("other stride", "trained with --discriminator_downsamplings 4, found 3.*move .* away"),
        ("one", "discriminator_t2w.pt: missing"),
    ],
)
def test_discriminators_that_do_not_fit_are_not_packaged(tmp_path, case, message):
    models = save_models(tmp_path / "trained")
    judges = save_discriminators(models / "discriminators", features=6)
    if case == "one":
        (judges / "discriminator_t2w.pt").unlink()
    if case == "other stride":
        (judges / "sizes.json").write_text('{"discriminator_downsamplings": 4}')
    features = 4 if case == "other size" else 6
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        package(str(tmp_path), models_dir=str(models), discriminator_features=features, **SIZES)
    assert not (tmp_path / NAME).exists()


def save_discriminators(folder: Path, *, features: int) -> Path:
    folder.mkdir(parents=True)
    for name in DISCRIMINATOR_FILES.values():
        judge = PatchDiscriminator(
            in_channels=1, features=features, downsamplings=3, normalization="instance"
        )
        torch.save(judge.state_dict(), folder / name)
    return folder


def test_what_is_there_is_replaced_only_on_request(tmp_path):
    bundle = save_package(tmp_path)
    (bundle / "mine.txt").write_text("mine")
    options = {"models_dir": str(tmp_path / "trained"), **SIZES}
    with pytest.raises(FileExistsError, match="--overwrite true"):
        package(str(tmp_path / "package"), **options)
    assert (bundle / "mine.txt").exists()
    package(str(tmp_path / "package"), overwrite="true", **options)
    assert not (bundle / "mine.txt").exists()


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path):
    models = save_models(tmp_path / "models")
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="no bundle, and is left alone"):
        package(str(tmp_path), models_dir=str(models), overwrite="true", **SIZES)
    assert (tmp_path / NAME / "thesis.txt").read_text() == "mine"


def test_large_files_are_listed_as_the_zoo_lists_them(tmp_path):
    (tmp_path / "models").mkdir()
    content = bytes(25_000_001)
    (tmp_path / "models" / "model.pt").write_bytes(content)
    (tmp_path / "models" / "small.pt").write_bytes(content[:-1])
    names, text = format_large_files(tmp_path, "https://example.org/weights/")
    assert names == ["models/model.pt"]
    assert yaml.safe_load(text) == {
        "large_files": [
            {
                "path": "models/model.pt",
                "url": "https://example.org/weights/model.pt",
                "hash_val": hashlib.sha256(content).hexdigest(),
                "hash_type": "sha256",
            }
        ]
    }


def test_a_version_that_the_changelog_does_not_begin_with_is_refused():
    with pytest.raises(ValueError, match=r"version is 0.2.0.*changelog is 0.1.0"):
        check_version({"version": "0.2.0", "changelog": {"0.1.0": "first", "0.2.0": "second"}})


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("empty", "no model.pt and no model_t2w_to_t1w.pt here.*make demo"),
        ("one", "no model_t2w_to_t1w.pt here"),
        ("checkpoint", "no bare state dict"),
        ("other sizes", "of other networks.*Pass the --features"),
    ],
)
def test_what_cannot_be_packaged_says_why_and_leaves_nothing(tmp_path, monkeypatch, case, message):
    models = tmp_path / "models"
    models.mkdir()
    if case != "empty":
        save_models(models, features=8 if case == "other sizes" else 4)
    if case == "one":
        (models / "model_t2w_to_t1w.pt").unlink()
    if case == "checkpoint":
        torch.save({"trainer": {"epoch": 1}, "network": {}}, models / "model.pt")
    arguments = ["package", str(tmp_path / "out"), f"--models_dir={models}"]
    arguments += [f"--{name}={value}" for name, value in SIZES.items()]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=message):
        main()
    assert not (tmp_path / "out").exists()
