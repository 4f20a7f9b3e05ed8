"""The documentation site builds without warnings, is complete, and loads no external files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import ROOT

from erc.config import emonet, llm, multitask, sections, utterance


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_site_has_a_page_for_every_document(site: Path) -> None:
    wanted = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert wanted - {path.relative_to(site) for path in site.rglob("*.html")} == set()


def test_pages_load_no_external_script_style_or_image(site: Path) -> None:
    loading = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?https?:[^>]*>|"""
        r"""<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect))[^>]*\bhref=["']?https?:[^>]*>"""
    )
    found = [(path.name, loading.findall(path.read_text(encoding="utf-8"))) for path in site.rglob("*.html")]
    assert [one for one in found if one[1]] == []


def test_reference_documents_every_configuration_key(site: Path) -> None:
    page = (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    modules = (sections, emonet, llm, multitask, utterance)
    kinds = {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, sections.Section)
    }
    own = [kind for kind in kinds if kind.__module__ in {module.__name__ for module in modules}]
    keys = {f"{kind.__module__}.{kind.__name__}.{key}" for kind in own for key in kind.model_fields}
    assert len(keys) > 50
    assert [key for key in sorted(keys) if f'id="{key}"' not in page] == []


def test_reference_documents_every_public_name(site: Path) -> None:
    import erc

    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    names = set(erc.__all__) - {"__version__", "ConvemoError"}
    assert [name for name in sorted(names) if f'id="erc.{name}"' not in page] == []
