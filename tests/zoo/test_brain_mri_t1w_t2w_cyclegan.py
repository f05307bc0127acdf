"""Unit test of the bundle in the form of the MONAI Model Zoo's ci/unit_tests; copy it there.

It runs from the Zoo's root, beside whose `models` the bundle lies, with the Zoo's `utils.py`. This
project's own tests run it through tests/test_zoo.py. The bundle ships weights of the sizes that its
configs say, so nothing but the data is overridden.
"""

import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow
from parameterized import parameterized
from utils import check_workflow

BUNDLE = "models/brain_mri_t1w_t2w_cyclegan"
CASES = [
    [{"bundle_root": BUNDLE, "direction": "t1w_to_t2w"}, "T1w", "T2w"],
    [{"bundle_root": BUNDLE, "direction": "t2w_to_t1w"}, "T2w", "T1w"],
]


def make_head(shape=(40, 48, 20), spacing=(4.0, 4.0, 8.0)):
    """A brain-extracted ellipsoid of 1.2 litres with smooth intensities."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    offset = (index - (np.array(shape) - 1) / 2) * spacing
    brain = ((offset / (62, 76, 62)) ** 2).sum(axis=-1) < 1
    voxels = (500 + 3 * offset[..., 0] + 200 * np.sin(offset[..., 1] / 9)) * brain
    return nib.Nifti1Image(voxels.astype(np.float32), np.diag([*spacing, 1.0]))


class TestBrainMriT1wT2wCycleGan(unittest.TestCase):
    """Inference in both directions; training needs a slice dataset, which the Zoo does not have."""

    def setUp(self):
        """Write one scan of each contrast."""
        sys.path.insert(0, BUNDLE)  # the configs name parts of the package `scripts`
        self.folder = Path(tempfile.mkdtemp())
        for contrast in ("T1w", "T2w"):
            nib.save(make_head(), self.folder / f"sub-01_{contrast}.nii.gz")

    def tearDown(self):
        """Leave nothing behind."""
        shutil.rmtree(self.folder)

    @parameterized.expand(CASES)
    def test_infer_config(self, override, source, target):
        """A scan goes in, a synthetic one on the same grid comes out."""
        scan = self.folder / f"sub-01_{source}.nii.gz"
        workflow = ConfigWorkflow(
            workflow_type="infer",
            config_file=f"{BUNDLE}/configs/inference.json",
            logging_file=f"{BUNDLE}/configs/logging.conf",
            meta_file=f"{BUNDLE}/configs/metadata.json",
            input=str(scan),
            output_dir=str(self.folder / "out"),
            brain_extraction="none",
            **override,
        )
        check_workflow(workflow, check_properties=True)
        name = f"sub-01_space-{source}_desc-synthetic_{target}.nii.gz"
        self.assertEqual(nib.load(self.folder / "out" / name).shape, nib.load(scan).shape)


if __name__ == "__main__":
    unittest.main()
