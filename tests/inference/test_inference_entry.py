"""The public names of `erc.inference`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import erc.inference


def test_every_public_name_is_importable():
    assert all(getattr(erc.inference, name).__name__ == name for name in erc.inference.__all__)


def test_unknown_name_raises_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        erc.inference.Predicter  # noqa: B018


def test_import_of_the_package_does_not_import_torch():
    code = (
        "import sys, erc.inference; assert 'torch' not in sys.modules; from erc.inference import Predictor; "
        "assert Predictor"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
