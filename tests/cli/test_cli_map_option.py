import pytest

from erc.cli.map_option import column_mapping
from erc.errors import ConfigError


@pytest.mark.parametrize(
    ("pairs", "mapping"),
    [
        (["text=message", "speaker=who"], {"text": "message", "speaker": "who"}),
        (["text=message, speaker=who"], {"text": "message", "speaker": "who"}),
        (["text=me,ssage"], {"text": "me,ssage"}),
        (["text=me,ssage,speaker=who"], {"text": "me,ssage", "speaker": "who"}),
        (['text="a, id=b",speaker=who'], {"text": "a, id=b", "speaker": "who"}),
        (['text="say ""so"""'], {"text": 'say "so"'}),
        (['text=12"'], {"text": '12"'}),
        (["text=a=b"], {"text": "a=b"}),
        (["text=m", "text=m"], {"text": "m"}),
    ],
)
def test_column_mapping_accepts_commas_in_column_names(pairs, mapping):
    assert column_mapping(pairs) == mapping


@pytest.mark.parametrize("pair", ["", "text", "=message", "text=", 'text=""'])
def test_column_mapping_rejects_an_item_that_is_not_a_pair(pair):
    with pytest.raises(ConfigError, match="field=column"):
        column_mapping([pair])


def test_column_mapping_rejects_two_columns_for_a_field():
    with pytest.raises(ConfigError, match=r"text twice, as 'a' and as 'b'"):
        column_mapping(["text=a", "text=b"])
