"""What nibabel raises where a file is no image, cut short or damaged."""

from __future__ import annotations

import zlib

from nibabel.filebasedimages import ImageFileError

UNREADABLE = (ImageFileError, OSError, EOFError, ValueError, zlib.error)
