"""Name maps."""

from __future__ import annotations

from pathlib import Path

import pytest

from speakers import NameMap
from speakers.errors import InvalidRecordError


def test_map_finds_aliases_and_people(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text(
        "Monica Geller: [Monica, Mon]\nChan: Chandler Bing\nconversations:\n  standup: {SPEAKER_00: Ana}\n",
        encoding="utf-8",
    )
    names = NameMap.read(path)
    assert names.lookup("MON", "x") == "Monica Geller"
    assert names.lookup("monica geller", "x") == "Monica Geller"
    assert names.lookup("Chan", "x") == "Chandler Bing"
    assert names.lookup("speaker_00", "standup") == "Ana"
    assert names.lookup("speaker_00", "other") is None


@pytest.mark.parametrize("text", ["- a\n", "Ana: 3\n", "{", "A: [Mon]\nB: [Mon]\n", "conversations: [x]\n"])
def test_map_of_an_invalid_form_is_rejected_with_the_file_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRecordError, match=r"names\.yaml"):
        NameMap.read(path)
