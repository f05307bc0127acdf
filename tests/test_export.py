"""What other programs get: the same numbers at any size, and a description of what to feed in."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from monai.data import load_net_with_metadata
from scripts.export import LARGEST_DIFFERENCE, check_difference, export, main
from scripts.export_formats import FORMATS, compute_largest_difference
from scripts.networks import ResnetGenerator
from scripts.trained_generator import load_generator

from tests.inference_config import BUNDLE

SMALL: dict[str, Any] = {"features": 4, "blocks": 1, "upsampling": "resize", "slices": 1}
SUFFIXES = {"torchscript": ".ts", "onnx": ".onnx", "torch_export": ".pt2"}
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")  # torch about its own export


def save_model(folder: Path, direction: str = "t1w_to_t2w", **sizes: Any) -> ResnetGenerator:
    torch.manual_seed(3)
    sizes = SMALL | sizes
    slices = sizes.pop("slices")
    network = ResnetGenerator(in_channels=slices, out_channels=slices, **sizes).eval()
    name = {"t1w_to_t2w": "model.pt", "t2w_to_t1w": "model_t2w_to_t1w.pt"}[direction]
    torch.save(network.state_dict(), folder / name)
    return network


def read_description(path: Path) -> dict[str, Any]:
    """What is inside, read without the functions that wrote it."""
    if path.suffix == ".onnx":
        entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        return json.loads(entries["export.json"])["export"]
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("extra/export.json"))
        return json.loads(archive.read(name))["export"]


@dataclass(frozen=True)
class Exported:
    """A network of the usual kind, T2w to T1w, and its file."""

    network: ResnetGenerator
    file: Path


# Tracing takes up to a minute.
FAST = "torchscript"
KINDS = [pytest.param(kind, marks=() if kind == FAST else pytest.mark.slow) for kind in FORMATS]


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory) -> Exported:
    """Once for each format."""
    folder = tmp_path_factory.mktemp(request.param)
    network = save_model(folder, "t2w_to_t1w")
    file = folder / f"model{SUFFIXES[request.param]}"
    options = {"models_dir": str(folder), "direction": "t2w_to_t1w", **SMALL}
    export(request.param, str(file), **options)
    return Exported(network, file)


def check_same(network: ResnetGenerator, kind: str, file: Path, channels: int) -> None:
    """The file computes what the network does, at any batch and size."""
    run = FORMATS[kind][1](file)
    for batch, height, width in [(3, 96, 132), (1, 128, 128), (2, 33, 67), (1, 5, 7), (1, 8, 62)]:
        images = torch.rand(batch, channels, height, width) * 2 - 1
        with torch.no_grad():
            difference = (run(images) - network(images)).abs().max()
        assert difference <= LARGEST_DIFFERENCE, (batch, height, width)


def name_kind(file: Path) -> str:
    return next(kind for kind, suffix in SUFFIXES.items() if suffix == file.suffix)


def test_an_exported_network_computes_the_same_at_any_batch_and_size(exported):
    check_same(exported.network, name_kind(exported.file), exported.file, channels=1)


@pytest.mark.parametrize(
    "sizes",
    [{"upsampling": "transposed"}, {"slices": 3}],
    ids=["transposed", "three slices"],
)
@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=[pytest.mark.slow] if k != "torchscript" else []) for k in FORMATS],
)
def test_so_do_networks_of_other_kinds(tmp_path, kind, sizes):
    network = save_model(tmp_path, **sizes)
    file = tmp_path / f"model{SUFFIXES[kind]}"
    export(kind, str(file), models_dir=str(tmp_path), **(SMALL | sizes))
    check_same(network, kind, file, sizes.get("slices", 1))


def test_an_exported_file_says_what_it_is_and_what_it_expects_to_see(exported):
    description = read_description(exported.file)
    weights = exported.file.with_name("model_t2w_to_t1w.pt").read_bytes()
    assert description["model_sha256"] == hashlib.sha256(weights).hexdigest()
    assert description["direction"] == "t2w_to_t1w"
    assert description["sizes"] == SMALL
    assert description["input"]["value_range"] == [-1, 1]
    assert "preprocess" in description["sees"]
    preprocessing = json.dumps(description["preprocessing"])
    assert "ScaleIntensityInMaskd" in preprocessing
    assert "99.5" in preprocessing
    assert "@" not in preprocessing


def test_no_path_of_this_machine_is_inside(exported):
    file = exported.file
    if file.suffix == ".ts":
        pytest.skip("TorchScript keeps lines of its source")
    contents = [file.read_bytes()]
    if file.suffix != ".onnx":
        with zipfile.ZipFile(file) as archive:
            contents += [archive.read(name) for name in archive.namelist()]
    for place in (str(file.parent), str(BUNDLE)):
        assert not any(place.encode() in content for content in contents)


def test_torchscript_holds_the_metadata_and_the_config_of_its_own_direction_and_sizes(tmp_path):
    save_model(tmp_path, "t2w_to_t1w", slices=3)
    file = tmp_path / "brain.ts"
    sizes = SMALL | {"slices": 3, "slice_distance_mm": 1.5}
    export("torchscript", str(file), models_dir=str(tmp_path), direction="t2w_to_t1w", **sizes)
    _, metadata, extra = load_net_with_metadata(str(file), more_extra_files=["inference.json"])
    image = metadata["network_data_format"]["inputs"]["image"]
    assert image["channel_def"] == {"0": "T2w", "1": "T2w", "2": "T2w"}
    assert image["num_channels"] == 3
    assert metadata["eval_metrics"] == {}  # those of other weights are
    assert "weights" not in metadata
    config = json.loads(extra["inference.json"])
    assert (config["direction"], config["features"], config["slices"]) == ("t2w_to_t1w", 4, 3)
    assert config["slice_distance_mm"] == read_description(file)["slice_distance_mm"] == 1.5
    # MONAI Deploy looks for extra/ in a folder that is named as the file is.
    assert "brain/extra/metadata.json" in zipfile.ZipFile(file).namelist()


def test_onnx_has_the_stated_opset_names_and_free_sizes(exported):
    if exported.file.suffix != ".onnx":
        pytest.skip("of ONNX")
    model = onnx.load(exported.file)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    for value, name in ((model.graph.input[0], "image"), (model.graph.output[0], "pred")):
        assert value.name == name
        sizes = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert sizes == ["batch", 1, "height", "width"]


def test_what_is_there_is_replaced_only_on_request(tmp_path):
    save_model(tmp_path)
    file = tmp_path / "model.ts"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="--overwrite true"):
        export("torchscript", str(file), models_dir=str(tmp_path), **SMALL)
    assert file.read_text() == "mine"
    export("torchscript", str(file), models_dir=str(tmp_path), overwrite="true", **SMALL)
    assert zipfile.is_zipfile(file)


def test_nothing_appears_when_the_outputs_differ(tmp_path, monkeypatch):
    save_model(tmp_path)
    monkeypatch.setattr("scripts.export.compute_largest_difference", lambda *_: 2e-4)
    with pytest.raises(ValueError, match=r"2.0e-04.*1e-04 at most"):
        export("torchscript", str(tmp_path / "model.ts"), models_dir=str(tmp_path), **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt"]


def test_a_network_that_returns_nan_does_not_count_as_the_same():
    with pytest.raises(ValueError, match="nan"):
        check_difference(math.nan, name="model.onnx")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("model", {"features": 8}, "of other networks.*Pass the --features"),
        ("model", {"direction": "t1_to_t2"}, "Expected one of"),
        ("model", {"direction": "t2w_to_t1w"}, "no such model"),
        ("model", {"checkpoint": "absent.pt"}, "absent.pt: there is no such file"),
        ({"trainer": {"epoch": 3}}, {}, "no bare state dict"),
        (b"PK cut off", {}, "cannot be read as weights"),
    ],
)
def test_what_cannot_be_exported_says_why(tmp_path, monkeypatch, content, options, message):
    save_model(tmp_path)
    if isinstance(content, dict):
        torch.save(content, tmp_path / "model.pt")
    elif isinstance(content, bytes):
        (tmp_path / "model.pt").write_bytes(content)
    arguments = ["export", "onnx", str(tmp_path / "model.onnx"), f"--models_dir={tmp_path}"]
    arguments += [f"--{name}={value}" for name, value in (SMALL | options).items()]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        main()
    assert re.search(message, str(caught.value))
    assert not (tmp_path / "model.onnx").exists()


def test_an_unknown_kind_names_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="torchscript, onnx, torch_export"):
        export("tensorrt", str(tmp_path / "model.trt"))


def test_outputs_of_another_size_are_an_error_that_shows_both_sizes(tmp_path):
    save_model(tmp_path)
    generator = load_generator(models_dir=str(tmp_path), checkpoint=None, options=SMALL)
    with pytest.raises(ValueError, match=r"found \(2, 1, 8, 11\), expected \(2, 1, 8, 12\)"):
        compute_largest_difference(generator, lambda images: images[..., 1:], ((2, 8, 12),))


def test_a_misspelt_option_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    save_model(tmp_path)
    arguments = ["export", "torchscript", str(tmp_path / "a.ts"), f"--models_dir={tmp_path}"]
    arguments += [f"--{name}={value}" for name, value in SMALL.items()]
    monkeypatch.setattr(sys, "argv", [*arguments, "--diretion", "t1w_to_t2w"])
    with pytest.raises(SystemExit, match="--diretion .did you mean --direction"):
        main()
    assert not (tmp_path / "a.ts").exists()
