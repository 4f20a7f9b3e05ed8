"""bitsandbytes is imported for 4-bit weights only."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from erc.errors import ConfigError
from erc.llm.base.four_bit import can_four_bit, four_bit_settings, without_bitsandbytes

SUPPORT = Path(__file__).parents[2] / "support"
ADAPTER = """
from erc.llm.base.adapters import AdapterRecord, LoraSettings, attach_lora, load_adapter, save_adapter
from erc.llm.base.loading import load_base
base, _ = load_base(BASE, precision="fp32")
model = attach_lora(base, LoraSettings(r=2))
save_adapter(model, FOLDER, AdapterRecord(BASE, None, "erc/v2+few_shot/v2", "", None, ("joy",), "meld"))
base, _ = load_base(BASE, precision="fp32")
load_adapter(base, FOLDER)
"""
TRAINER = "import erc.training.loop.trainer\n"
ENCODER = """
from erc.llm.embedding import SentenceEmbedder
SentenceEmbedder.load("sentence-transformers/all-MiniLM-L6-v2")
"""


@pytest.fixture
def fake_package(tmp_path):
    """A folder with an importable package named bitsandbytes."""
    nn = "import torch\nLinear4bit = Linear8bitLt = type('Linear', (torch.nn.Module,), {})\n"
    (tmp_path / "bitsandbytes" / "nn").mkdir(parents=True)
    (tmp_path / "bitsandbytes" / "__init__.py").write_text("from . import nn\n__version__ = '0.50.0'\n")
    (tmp_path / "bitsandbytes" / "nn" / "__init__.py").write_text(nn)
    info = tmp_path / "bitsandbytes-0.50.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bitsandbytes\nVersion: 0.50.0\n")
    return tmp_path


@pytest.mark.parametrize("script", [ADAPTER, TRAINER, ENCODER], ids=["adapter", "trainer", "embedder"])
def test_bitsandbytes_is_not_imported_without_4bit_weights(script, fake_package, tiny_lm_dir, tmp_path):
    lines = f"""
import sys
from importlib.util import find_spec
from pathlib import Path
BASE, FOLDER = {str(tiny_lm_dir)!r}, Path({str(tmp_path / "adapter")!r})
{script}
assert find_spec("bitsandbytes") is not None
assert "peft" in sys.modules
print("imported" if "bitsandbytes" in sys.modules else "not imported")
"""
    paths = [str(fake_package), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", lines],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "not imported"


def test_hidden_package_is_importable_after_the_block(fake_package, monkeypatch):
    monkeypatch.syspath_prepend(str(fake_package))
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    with without_bitsandbytes():
        assert find_spec("bitsandbytes") is None
    assert "bitsandbytes" not in sys.modules
    assert find_spec("bitsandbytes") is not None
    from peft import import_utils

    with without_bitsandbytes():
        assert not import_utils.is_bnb_available()
    assert import_utils.is_bnb_available()
    import_utils.is_bnb_available.cache_clear()


def test_package_stays_visible_for_a_quantized_model(monkeypatch):
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    with without_bitsandbytes(SimpleNamespace(is_loaded_in_4bit=True)):
        assert "bitsandbytes" not in sys.modules
    imported = ModuleType("bitsandbytes")
    monkeypatch.setitem(sys.modules, "bitsandbytes", imported)
    with without_bitsandbytes():
        assert sys.modules["bitsandbytes"] is imported


def test_4bit_on_a_cpu_is_unavailable():
    assert not can_four_bit("cpu")
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        four_bit_settings("cpu")
