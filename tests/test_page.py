"""The page about an evaluation: the right verdict in words, complete, escaped, self-contained."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from matplotlib import image as mpl_image
from scripts.evaluation.evaluation_folders import load_summary
from scripts.report.cells import number_cell
from scripts.report.figures import compute_correlation, select_bars, shorten
from scripts.report.judgement import judge
from scripts.report.numbers import format_number, format_p
from scripts.report.page import VIEWER, load_metrics, write_page
from scripts.report.provenance import describe_openings, format_time
from scripts.report.verdict import Verdict, make_verdicts
from scripts.report.volumes import format_picture, load_shown, make_pictures
from torch.utils.tensorboard import SummaryWriter

from tests.evaluation_folder import SHAPE, turn_volumes, write_evaluation
from tests.page_outline import Outline, read_text

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_evaluation(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return write_page(folder).read_text()


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


@pytest.fixture(scope="module")
def unpaired_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(
        write_evaluation(tmp_path_factory.mktemp("evaluation"), paired=False)
    ).read_text()


def write_verdicts(folder: Path, **options: Any) -> list[Verdict]:
    write_evaluation(folder, **options)
    return make_verdicts(load_summary(folder), load_metrics(folder, paired=True))


def test_the_page_asks_for_nothing_from_outside(page: str, outline: Outline) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    addresses = [
        str(attrs[key]) for _, attrs in outline.tags for key in ("src", "href") if key in attrs
    ]
    assert len(addresses) > 30
    assert all(address.startswith(("data:", "#")) for address in addresses)
    policy = next(attrs["content"] for attrs in outline.find("meta") if "http-equiv" in attrs)
    assert str(policy).startswith("default-src 'none';")


def test_links_inside_the_page_lead_somewhere(outline: Outline) -> None:
    names = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(set(names)) == len(names)
    links = {str(attrs["href"])[1:] for attrs in outline.find("a")}
    assert links
    assert links <= set(names)


def test_the_page_names_no_folder_of_this_machine(page: str, folder: Path) -> None:
    assert str(folder.parent) not in page
    assert str(Path(__file__).parents[1]) not in page


def test_every_tag_is_closed_and_every_picture_described(outline: Outline) -> None:
    assert outline.open == []
    pictures = outline.find("img")
    assert len(pictures) == 6 * 5
    assert all(attrs["alt"] for attrs in pictures)
    charts = outline.find("svg")
    assert len(charts) == 6 + 2  # bars of two directions and three figures, two joint histograms
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)


def test_headings_are_in_order_and_the_language_is_named(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert outline.find("html") == [{"lang": "en"}]


def test_the_verdict_stands_before_every_table_and_says_by_how_much(page: str) -> None:
    text = read_text(page)
    sentence = "Better than copying the input, the mean and the look-up table."
    assert text.count(sentence) == 2  # both directions
    assert text.index(sentence) < text.index("Means over subjects")
    # subjects score .60, .61 and .62, copying .07 less; the fixture's intervals run from the
    # smallest to the largest gain
    assert (
        "SSIM 0.610 against 0.540: +0.070 (range +0.070 to +0.070), higher for 3 of 3 subjects."
    ) in text
    assert "PSNR 22.00 against 20.60: +1.40 dB" in text


def test_few_subjects_get_no_p_value_and_are_listed(page: str, tmp_path: Path) -> None:
    text = read_text(page)
    assert "Only 3 subjects: with fewer than 8 no p-value can fall below .01" in text
    assert "SSIM of each subject, T1w → T2w" in text
    assert "; p =" not in text
    many = read_text(write_page(write_evaluation(tmp_path, subjects=8)).read_text())
    assert "Only 8 subjects" not in many
    assert "SSIM of each subject" not in many
    assert "higher for 8 of 8 subjects; p = .004." in many


def test_a_model_worse_than_copying_is_called_so(tmp_path: Path) -> None:
    gains = {"copy": -0.05, "mean": 0.1, "lookup": -0.02}
    for verdict in write_verdicts(tmp_path, gains=gains):
        assert verdict.headline == (
            "Better than the mean; worse than copying the input and the look-up table."
        )
        copying = verdict.lines[0]
        assert (copying.word, copying.phrase) == ("worse", "Worse than copying the input")
        assert copying.details[0].startswith("SSIM 0.610 against 0.660: \N{MINUS SIGN}0.050 (range")
        assert "higher for 0 of 3 subjects" in copying.details[0]


def test_a_tie_is_neither_better_nor_worse(tmp_path: Path) -> None:
    gains = {"copy": 0.0, "mean": [0.1, 0.1, -0.01], "lookup": 0.1}
    verdict = write_verdicts(tmp_path, gains=gains)[0]
    assert verdict.headline == (
        "Better than the look-up table; not distinguishable from copying the input and the mean."
    )
    assert (
        verdict.lines[0]
        .details[0]
        .endswith("0.000 (range 0.000 to 0.000), higher for 0 of 3 subjects and equal for 3.")
    )
    assert verdict.lines[1].details[0].endswith("higher for 2 of 3 subjects.")


def test_figures_that_disagree_are_pointed_out(page: str, tmp_path: Path) -> None:
    assert "The two figures disagree" not in read_text(page)
    verdict = write_verdicts(tmp_path, psnr_gains={"copy": -2.0})[0]
    assert [bool(line.warning) for line in verdict.lines] == [True, False, False]
    assert (
        "by SSIM the model is better than copying the input and by PSNR the model is worse than "
        "copying the input"
    ) in verdict.lines[0].warning


def test_without_training_pairs_the_look_up_table_is_said_to_be_missing(tmp_path: Path) -> None:
    verdict = write_verdicts(tmp_path, gains={"copy": 0.07, "mean": 0.2})[0]
    assert verdict.headline == "Better than copying the input and the mean."
    words = "There is no comparison with the look-up table: it is"
    assert any(line.startswith(words) for line in verdict.missing)


def test_several_models_get_a_verdict_each_where_none_was_chosen(tmp_path: Path) -> None:
    titles = [verdict.title for verdict in write_verdicts(tmp_path, chosen=None)]
    assert titles == ["T1w → T2w", "T2w → T1w"]  # one model was measured
    summary = load_summary(tmp_path)
    other = [row | {"model": "other"} for row in summary["rows"] if row["model"] == "model"]
    both = summary | {"rows": summary["rows"] + other}
    verdicts = make_verdicts(both, load_metrics(tmp_path, paired=True))
    assert [verdict.title for verdict in verdicts][1:3] == ["T2w → T1w: model", "T1w → T2w: other"]
    assert verdicts[2].headline == "Not compared with anything."


DIFFERENCE = {"mean": 0.1, "low": 0.05, "high": 0.15, "p": 0.004, "p_holm": 0.008, "subjects": 10}


@pytest.mark.parametrize(
    ("changes", "gains", "word"),
    [
        ({}, [0.1] * 10, "better"),
        ({"low": -0.2, "high": -0.05}, [-0.1] * 10, "worse"),
        ({"low": 0.0}, [0.1] * 10, "same"),
        ({"p_holm": 0.06}, [0.1] * 10, "same"),
        ({"p_holm": None}, [0.1] * 10, "better"),
        ({"p_holm": None, "p": 0.06}, [0.1] * 10, "same"),
        ({"low": math.nan}, [0.1] * 10, "same"),
        ({"low": None, "high": None}, [0.1] * 10, "same"),
        ({"p": None, "p_holm": None, "subjects": 3}, [0.1] * 3, "better"),
        ({"p": None, "p_holm": None, "subjects": 3}, [0.1, 0.2, 0.0], "same"),
        ({"p": None, "p_holm": None, "subjects": 1}, [0.1], "above"),
        ({"p": None, "p_holm": None, "subjects": 1, "mean": -0.1}, [-0.1], "below"),
        ({}, [0.1] * 9 + [-0.1], "better"),
    ],
)
def test_a_difference_counts_only_where_interval_p_value_and_few_subjects_agree(
    changes: dict[str, Any], gains: list[float], word: str
) -> None:
    assert judge(DIFFERENCE | changes, gains, smallest_for_p=8) == word


def test_a_label_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    page = write_page(write_evaluation(tmp_path, label=EVIL, models_note=EVIL)).read_text()
    assert EVIL not in page
    outline = Outline(page)
    assert outline.open == []
    assert f"Evaluation of {EVIL}" in read_text(page)
    assert any(EVIL in str(attrs["aria-label"]) for attrs in outline.find("svg"))


def test_a_subject_cannot_end_the_viewer_s_data(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    summary = json.loads((copy / "summary.json").read_text())
    summary["shown"][0]["subject_id"] = f"</script>{EVIL}"
    (copy / "summary.json").write_text(json.dumps(summary))
    page = write_page(copy).read_text()
    assert EVIL not in page
    assert read_viewer(page)["sessions"][0]["name"] == f"</script>{EVIL}"


def read_viewer(page: str) -> dict[str, Any]:
    data = re.search(r'id="viewer-data">(.*?)</script>', page, flags=re.DOTALL)
    assert data
    return json.loads(data[1])


def test_the_viewer_gets_its_code_and_every_volume_as_they_were(page: str, folder: Path) -> None:
    blocks = dict(re.findall(r'type="text/plain" id="([\w-]+)">([^<]*)</script>', page))
    assert gzip.decompress(base64.b64decode(blocks.pop("viewer-code"))) == VIEWER.read_bytes()
    sessions = read_viewer(page)["sessions"]
    assert [one["label"] for one in sessions][::5] == [
        "T1w → T2w, best by SSIM, 0.620: heads_sub-03",
        "T2w → T1w, worst by SSIM, 0.600: heads_sub-01",
    ]
    captions = ["Source T1w", "Real T2w", "Synthetic T2w", "Absolute error"]
    assert [panel["caption"] for panel in sessions[0]["panels"]] == captions
    error = base64.b64decode(blocks[sessions[0]["panels"][3]["volume"]])
    assert error == (folder / "volumes/t2w_best_error.nii.gz").read_bytes()
    assert {panel["volume"] for one in sessions for panel in one["panels"]} == set(blocks)
    assert len(blocks) < 6 * 4  # the source of one direction is the target of the other


def test_without_pairs_no_paired_figure_stands_anywhere(unpaired_page: str) -> None:
    text = read_text(unpaired_page)
    assert "no registered pairs of T1w and T2w" in text
    assert "The dataset has no registered pairs." in text
    assert "T1w → T2w, without pairs" in text
    assert not re.search(r"PSNR|Dice|Absolute error|Real T|(?<!Cycle )SSIM|Better than", text)
    assert Outline(unpaired_page).find("svg") == []


def test_without_pairs_figures_of_pairs_are_not_shown_even_where_they_are_on_disk(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps(summary | {"paired": False}))
    page = write_page(copy).read_text()
    assert not re.search(r"PSNR|Absolute error|Real T|Better than", read_text(page))
    captions = [panel["caption"] for panel in read_viewer(page)["sessions"][0]["panels"]]
    assert captions == ["Source T1w", "Synthetic T2w", "T1w again, from the synthetic T2w"]


def test_a_figure_that_was_not_measured_is_a_dash_with_a_title(page: str) -> None:
    assert '<td class="number"><abbr title="not measured">\N{EN DASH}<span' in page
    assert number_cell(math.nan, 3).order is None
    assert number_cell(None, 3).text == "\N{EN DASH}"
    assert number_cell(math.inf, 2).order == "Infinity"  # of a perfect image, in dB


def test_an_evaluation_of_unknown_registration_and_one_session_is_described(tmp_path: Path) -> None:
    write_evaluation(tmp_path, subjects=1, label="NA", registration=None, views=2)
    summary = load_summary(tmp_path)
    summary["shown"] = [summary["shown"][0] | {"rank": "only"}]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    page = write_page(tmp_path).read_text()
    assert "mutual information, T2w registered to T1w not known" in read_text(page)
    assert "views of a slice 2" in read_text(page)
    assert "On this one subject better than copying the input, the mean" in read_text(page)
    session = read_viewer(page)["sessions"][0]
    assert session["label"] == "T1w → T2w, the only session, SSIM 0.620: heads_sub-03"


def test_the_earlier_system_s_figures_are_marked(page: str) -> None:
    assert "Earlier system's figure, for reading old tables only" in read_text(page)
    assert re.search(r'class="number earlier"><button type="button"><span[^>]*>SSIM, earlier', page)


def test_numbers_are_written_as_in_print() -> None:
    assert format_number(-0.0504, 3, signed=True) == "\N{MINUS SIGN}0.050"
    assert format_number(0.0504, 3, signed=True) == "+0.050"
    assert format_number(-0.0004, 3, signed=True) == "0.000"
    assert [format_p(value) for value in (0.0004, 0.0321, 1.0)] == [
        "p < .001",
        "p = .032",
        "p = 1.000",
    ]


@pytest.mark.parametrize(
    ("split", "openings", "sentence", "worrying"),
    [
        ("test", [("01", "a")], "recorded in this folder, at 2026-11-01 02:00 UTC.", False),
        ("test", [("02", "a"), ("01", "a")], "first at 2026-11-01 02:00 UTC, each", False),
        ("test", [("01", "a"), ("02", "b")], "with 2 different models", True),
        ("test", [], "no record", True),
        ("validation", [], "the test part was not used here", False),
        ("all", [], "no record of when the whole dataset was opened", True),
    ],
)
def test_openings_of_the_test_part_are_told(
    split: str, openings: list[tuple[str, str]], sentence: str, worrying: bool
) -> None:
    entries = [
        {"when": f"2026-11-{day}T02:00:00+00:00", "split": "test", "sha256": sha256}
        for day, sha256 in openings
    ]
    told, alarm = describe_openings({"split": split, "openings": entries})
    assert sentence in told
    assert alarm is worrying
    assert format_time("2026-11-23T02:00:00+01:00") == "2026-11-23 02:00"


def test_openings_of_another_dataset_do_not_count() -> None:
    def opening(day: int, sha256: str, **dataset: str) -> dict[str, str]:
        when = f"2026-11-0{day}T02:00:00+00:00"
        return {"when": when, "split": "test", "sha256": sha256} | dataset

    other, measured = opening(1, "a", dataset="one"), opening(2, "b", dataset="two")
    told, alarm = describe_openings({"split": "test", "openings": [other, measured]})
    assert told == (
        "One opening of the test part is recorded in this folder, at 2026-11-02 02:00 UTC."
    )
    assert not alarm
    unknown = opening(3, "a")  # of an earlier version: it may be the same
    assert "3 openings" in describe_openings({"split": "test", "openings": [other] * 3})[0]
    assert describe_openings({"split": "test", "openings": [unknown, other, measured]})[1]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_choice_is_not_said_to_come_before_the_part_that_it_was_made_on(
    tmp_path: Path, split: str
) -> None:
    page = write_page(write_evaluation(tmp_path, split=split)).read_text()
    assert "The model was chosen by T2w SSIM on the validation part" in page
    assert ("before the measured part was opened" in page) == (split == "test")


def test_bars_are_of_models_and_trivial_rows_the_best_first() -> None:
    def bar(model: str, kind: str, mean: float) -> dict[str, Any]:
        return {"model": model, "kind": kind, "comparison": "t2w", "figure": "mae", "mean": mean}

    models = [bar(f"m{number}", "model", 0.1 + number / 100) for number in range(10)]
    rows = [
        *models,
        bar("copy", "trivial", 0.05),
        bar("real", "real", 0.0),
        bar("x", "model", math.nan),
    ]
    chosen = [row["model"] for row in select_bars(rows, "t2w", "mae")]
    assert chosen == ["copy", *(f"m{number}" for number in range(8))]
    assert shorten("a-very-long-folder/with/checkpoint_0040") == "…er/with/checkpoint_0040"


def test_pictures_show_the_front_at_the_top_and_errors_on_one_scale(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    shown = load_shown(folder, summary)[0]
    shown.images["source"][:] = 0
    shown.images["source"][28, 30, shown.first_slice] = 255  # right front
    picture = read_picture(make_pictures(shown)[0]["uri"])
    height, width = picture.shape[:2]
    row, column = np.unravel_index(picture[..., 0].argmax(), (height, width))
    assert row < height / 4
    assert column > width * 3 / 4
    ramp = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    error = read_picture(format_picture(ramp, is_error=True))
    assert error[0, 0].max() < 10  # black at 0
    assert abs(error[0, 2] - error[0, 3]).max() == 0  # half of the range and more look alike
    assert read_picture(format_picture(ramp, is_error=False))[0, :, 0].tolist() == [
        0,
        127,
        128,
        255,
    ]


def read_picture(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.partition(",")[2])
    return np.asarray(mpl_image.imread(io.BytesIO(content), format="webp"))[..., :3].astype(int)


def test_correlation_is_pearson_s_and_undefined_for_a_constant() -> None:
    real = np.array([0, 100, 200, 100], dtype=np.uint8)
    assert compute_correlation(real, 200 - real) == pytest.approx(-1)
    assert math.isnan(compute_correlation(real, np.full(4, 7, dtype=np.uint8)))


def test_training_curves_are_shown_where_event_files_exist(
    page: str, folder: Path, tmp_path: Path
) -> None:
    assert "No TensorBoard files were at hand" in page
    with SummaryWriter(tmp_path / "tensorboard") as writer:
        for step in range(3):
            writer.add_scalar("training/generator_loss", 1 / (step + 1), step)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    page = write_page(copy, tensorboard_dir=tmp_path / "tensorboard").read_text()
    assert 'alt="Training curves' in page
    page = write_page(copy, tensorboard_dir=tmp_path / "nowhere").read_text()
    assert "No TensorBoard files were at hand" in page
    with SummaryWriter(tmp_path / "begun"):  # a training that has not logged anything yet
        pass
    page = write_page(copy, tensorboard_dir=tmp_path / "begun").read_text()
    assert "No TensorBoard files were at hand" in page


@pytest.mark.parametrize(
    ("axes", "plane", "words"),
    [
        ("RSA", "coronal", "the top of the head at the top, the right of the patient on the right"),
        ("ASR", "sagittal", "the top of the head at the top, the front on the right"),
    ],
)
def test_slices_of_another_plane_are_called_so(
    folder: Path, tmp_path: Path, axes: str, plane: str, words: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    turn_volumes(copy, axes)
    page = write_page(copy).read_text()
    assert f"upright: {words}." in " ".join(read_text(page).split())
    assert f"{plane.capitalize()} slice" in page
    assert f'"plane": "{plane}"' in page


def test_a_folder_that_is_no_evaluation_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"summary\.json: .*`run evaluate` finished"):
        write_page(tmp_path)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "metrics.csv").rename(tmp_path / "metrics.csv")
    with pytest.raises(FileNotFoundError, match=r"metrics\.csv: there is no such file"):
        write_page(copy)
    (copy / "metrics.csv").write_text("model,kind\n")
    with pytest.raises(ValueError, match=r"metrics\.csv: column comparison is missing"):
        write_page(copy)
    (copy / "summary.json").write_text(json.dumps(summary | {"format_version": 2}))
    with pytest.raises(ValueError, match=r"found format_version 2; expected 1"):
        write_page(copy)


def test_volumes_that_are_gone_or_of_another_kind_are_refused_by_name(
    folder: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    file = copy / "volumes/t2w_best_real.nii.gz"
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"t2w_best_real\.nii\.gz: summary\.json names it"):
        write_page(copy)
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.float32), np.eye(4)), file)
    with pytest.raises(ValueError, match=r"found float32 voxels of shape \(32, 32, 12\)"):
        write_page(copy)
