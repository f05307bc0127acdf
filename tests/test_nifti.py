"""Reading one volume that can be trusted, and writing one on the grid of another."""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scripts.nifti import VolumeReader, load_volume
from scripts.nifti_output import FREE_TEXT_FIELDS, save_volume_like, write_atomically


def make_image(shape=(4, 5, 6), dtype=np.int16):
    voxels = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    image = nib.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
    image.set_sform(image.affine, 1)
    return image


def save(tmp_path, image, name="sub-01_T1w.nii.gz"):
    nib.save(image, tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ((4, 5, 6), (4, 5, 6)),
        ((4, 5, 6, 1), (4, 5, 6)),
        ((4, 5, 1, 1), (4, 5, 1)),
        ((4, 5), (4, 5, 1)),
    ],
)
def test_a_volume_is_three_dimensional(tmp_path, stored, read):
    image = load_volume(save(tmp_path, make_image(stored)))
    assert image.shape == read
    assert image.get_data_dtype() == np.int16 or image.dataobj.dtype == np.float32


def test_slope_and_intercept_are_applied(tmp_path):
    image = make_image(dtype=np.uint8)
    path = save(tmp_path, image, "scaled.nii")
    with path.open("r+b") as file:
        file.seek(112)  # scl_slope, scl_inter of the NIfTI-1 header
        file.write(np.array([0.5, 10], dtype="<f4").tobytes())
    np.testing.assert_allclose(load_volume(path).dataobj, np.asarray(image.dataobj) * 0.5 + 10)


def without_affine():
    image = make_image()
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    return image


def with_value(value):
    voxels = np.ones((4, 4, 4), dtype=np.float32)
    voxels[1, 1, 1] = value
    return nib.Nifti1Image(voxels, np.eye(4))


def singular():
    return with_axes(np.diag([1.0, 1.0, 0.0]))


def with_axes(axes):
    image = make_image()
    image.set_sform(nib.affines.from_matvec(axes), 1)
    return image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (make_image((3, 3, 3, 2)), "Expected one 3-D volume"),
        (make_image((7,)), "Expected one 3-D volume"),
        (with_value(np.nan), "1 of 64 voxels are NaN"),
        (with_value(-np.inf), "1 of 64 voxels are NaN or infinite"),
        (with_value(1), "empty or constant"),
        (without_affine(), "no usable affine"),
        (singular(), "not invertible"),
        (with_axes(np.diag([1.0, 1000.0, 1.0])), "voxels of 1 x 1e.03 x 1 mm. Expected 0.05 to"),
        (with_axes(np.diag([0.001, 1.0, 1.0])), "voxels of 0.001 x 1 x 1 mm"),
        (make_image((1, 1, 50)), "one row of voxels"),
        (nib.Nifti1Image(np.ones((3, 3, 3), dtype=np.complex64), np.eye(4)), "one real value"),
    ],
)
def test_what_no_step_could_use_is_refused_by_name(tmp_path, image, message):
    path = save(tmp_path, image, "sub-07_T1w.nii")
    with pytest.raises(ValueError, match=message) as caught:
        load_volume(path)
    assert "sub-07_T1w.nii" in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(tmp_path, kept):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 999, (20, 20, 20)).astype(np.int16)
    path = save(tmp_path, nib.Nifti1Image(noise, np.eye(4)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=r"sub-01_T1w.nii.gz.*(cannot be read|damaged)"):
        load_volume(path)


def test_a_flipped_bit_in_the_compressed_data_is_refused(tmp_path):
    generator = np.random.default_rng(0)
    path = save(tmp_path, nib.Nifti1Image(generator.random((20, 20, 20)), np.eye(4)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_volume(path)


def test_what_is_no_nifti_is_refused(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(b"not an image" * 99))
    (tmp_path / "scan.dcm").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read as NIfTI"):
        load_volume(tmp_path / "scan.nii.gz")
    with pytest.raises(ValueError, match="not a NIfTI file"):
        load_volume(tmp_path / "scan.dcm")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_volume(tmp_path / "absent.nii")


def test_the_reader_gives_one_volume(tmp_path):
    path = save(tmp_path, make_image((4, 5)))
    reader = VolumeReader()
    voxels, meta = reader.get_data(reader.read(path))
    assert voxels.shape == (4, 5, 1)
    assert tuple(meta["spatial_shape"]) == (4, 5, 1)
    with pytest.raises(ValueError, match="one file makes one volume"):
        reader.read([path, path])


def test_the_grid_is_kept_to_the_bit_and_free_text_is_not(tmp_path):
    image = make_image((4, 5, 6))
    image.set_qform(nib.affines.from_matvec(np.diag([1, 2, 3]), [9, 8, 7]), 3)
    image.set_sform(nib.affines.from_matvec(np.diag([1, 2, 3]), [9, 8, 7]), 4)
    image.header.set_xyzt_units("mm", "sec")
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = b"Jane Roe"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Jane Roe"))
    source = save(tmp_path, image)
    save_volume_like(np.full((4, 5, 6), 41.6), source, tmp_path / "out.nii.gz", dtype="int16")

    result = nib.load(tmp_path / "out.nii.gz")
    assert np.all(np.asarray(result.dataobj) == 42)
    for field in ("dim", "pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "qoffset_x"):
        np.testing.assert_array_equal(result.header[field], image.header[field])
    assert b"Jane" not in gzip.decompress((tmp_path / "out.nii.gz").read_bytes())


@pytest.mark.parametrize(
    ("kind", "field"), [(nib.Nifti1Image, "data_type"), (nib.Nifti2Image, "unused_str")]
)
def test_free_text_in_unused_fields_is_not_kept(tmp_path, kind, field):
    image = kind(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header[field] = b"DOE^JOHN"
    source = save(tmp_path, image, "scan.nii")
    assert b"DOE" in source.read_bytes()
    save_volume_like(np.ones((2, 3, 4)), source, tmp_path / "out.nii", dtype="int16")
    assert b"DOE" not in (tmp_path / "out.nii").read_bytes()


def test_every_text_of_a_header_is_known():
    """But the name of the format, and one letter."""
    for header in (nib.Nifti1Header(), nib.Nifti2Header()):
        texts = {name for name in header if header[name].dtype.kind == "S"}
        assert texts - set(FREE_TEXT_FIELDS) <= {"magic", "regular"}


def test_lengths_in_other_units_are_refused(tmp_path):
    image = make_image((4, 5, 6))
    image.header.set_xyzt_units("meter")
    with pytest.raises(ValueError, match="its lengths are in meter. Expected mm"):
        load_volume(save(tmp_path, image))


def test_forms_that_disagree_are_warned_about(tmp_path, caplog):
    image = make_image((4, 5, 6))
    image.set_sform(np.diag([2.0, 2, 2, 1]), 1)
    image.set_qform(np.diag([-2.0, 2, 2, 1]), 1)
    load_volume(save(tmp_path, image))
    assert "sform and qform disagree by up to 12 mm" in caplog.text


@pytest.mark.parametrize("degrees", [0.1, 5.7])
def test_sheared_axes_are_warned_about_and_turned_ones_are_not(tmp_path, caplog, degrees):
    shear = np.eye(3)
    shear[0, 1] = np.tan(np.radians(degrees))
    turned = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix()
    load_volume(save(tmp_path, with_axes(turned @ np.diag([1.0, 1.0, 4.0]))))
    assert not caplog.records
    load_volume(save(tmp_path, with_axes(turned @ shear)))
    assert ("sheared by 5.7 degrees" in caplog.text) == (degrees > 1)


def test_voxels_of_another_grid_are_refused(tmp_path):
    source = save(tmp_path, make_image((4, 5, 6)))
    with pytest.raises(ValueError, match="cannot lie on the grid"):
        save_volume_like(np.ones((4, 5, 7)), source, tmp_path / "out.nii", dtype="int16")


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(image, stream):
        raise OSError("No space left on device")

    monkeypatch.setattr(nib.Nifti1Image, "to_stream", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(make_image(), tmp_path / "out.nii.gz")
    assert list(tmp_path.iterdir()) == []
