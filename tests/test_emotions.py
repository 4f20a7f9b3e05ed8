import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from erc.emotions import (
    EmotionMap,
    EmotionSet,
    emotion_maps,
    emotion_sets,
    load_emotion_map,
    load_emotion_set,
)
from erc.errors import ConfigError, InputError

ALL_PAIRS = [
    *emotion_maps(),
    ("goemotions", "meld"),
    ("meld", "sentiment"),
    ("meld", "ekman"),
    ("goemotions", "goemotions"),
]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("goemotions", 28),
        ("ekman", 7),
        ("meld", 7),
        ("emorynlp", 7),
        ("semeval2018", 11),
        ("dailydialog", 7),
        ("sentiment", 4),
    ],
)
def test_emotion_set_has_its_labels(name: str, size: int) -> None:
    assert len(load_emotion_set(name)) == size


def test_goemotions_order_is_that_of_the_label_ids() -> None:
    labels = load_emotion_set("goemotions").labels
    assert (labels[0], labels[2], labels[17], labels[25], labels[27]) == (
        "admiration",
        "anger",
        "joy",
        "sadness",
        "neutral",
    )


def test_dailydialog_order_is_that_of_the_label_ids() -> None:
    assert load_emotion_set("dailydialog").labels == (
        "no_emotion",
        "anger",
        "disgust",
        "fear",
        "happiness",
        "sadness",
        "surprise",
    )


def test_emotion_sets_all_load() -> None:
    assert {load_emotion_set(name).name for name in emotion_sets()} == set(emotion_sets())


def test_canonical_resolves_case_space_and_aliases() -> None:
    assert load_emotion_set("emorynlp").canonical(" Joyful ") == "joyful"
    assert load_emotion_set("meld").canonical("Happiness") == "joy"
    assert load_emotion_set("dailydialog").canonical("no emotion") == "no_emotion"


def test_canonical_refuses_unknown_label_and_lists_the_labels() -> None:
    with pytest.raises(
        InputError,
        match="'bliss' is not an emotion of 'sentiment'; "
        "its labels are positive, negative, neutral, ambiguous",
    ):
        load_emotion_set("sentiment").canonical("bliss")


def test_index_follows_the_label_order() -> None:
    assert load_emotion_set("ekman").index("JOY") == 3


def test_load_emotion_set_refuses_unknown_name_and_lists_sets() -> None:
    with pytest.raises(ConfigError, match=r"no emotion set 'plutchik'.*goemotions"):
        load_emotion_set("plutchik")


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels": ("a", "a")},
        {"labels": ()},
        {"neutral": "c"},
        {"aliases": {"x": "c"}},
        {"aliases": {"a": "b"}},
    ],
    ids=str,
)
def test_emotion_set_refuses_inconsistent_records(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        EmotionSet(
            **{
                "name": "s",
                "labels": ("a", "b"),
                "neutral": None,
                "multi_label": False,
                "source": "",
            }
            | wrong
        )


def test_goemotions_to_ekman_is_noisy_or() -> None:
    source = load_emotion_set("goemotions")
    p = np.zeros(28)
    p[source.index("anger")], p[source.index("annoyance")], p[source.index("joy")] = 0.5, 0.2, 0.3
    mapped = load_emotion_map("goemotions", "ekman").apply(p)
    np.testing.assert_allclose(mapped, [0.6, 0, 0, 0.3, 0, 0, 0], atol=1e-12)


def test_single_label_map_sums() -> None:
    p = np.array(
        [0.25, 0.125, 0.125, 0.25, 0.125, 0.0625, 0.0625]
    )  # joyful mad neutral peaceful powerful sad scared
    mapped = load_emotion_map("emorynlp", "ekman").apply(p)
    np.testing.assert_allclose(mapped, [0.125, 0, 0.0625, 0.625, 0.125, 0.0625, 0])


def test_surprise_becomes_ambiguous_and_never_polar() -> None:
    chosen = load_emotion_map("meld", "sentiment")
    np.testing.assert_array_equal(
        chosen.apply(np.eye(7)[load_emotion_set("meld").index("surprise")]), [0, 0, 0, 1]
    )
    assert chosen.lossy
    assert chosen.provenance == "project"
    assert "column" in chosen.notes


def test_semeval_neutral_is_the_absence_of_all_labels() -> None:
    mapped = load_emotion_map("semeval2018", "ekman")
    neutral = mapped.target.index("neutral")
    assert mapped.apply(np.zeros(11))[neutral] == 1.0
    p = np.zeros(11)
    p[mapped.source.index("anticipation")], p[mapped.source.index("joy")] = 0.5, 0.5
    np.testing.assert_allclose(mapped.apply(p)[neutral], 0.25)


def test_twin_set_takes_the_maps_of_the_other() -> None:
    p = np.linspace(0, 1, 28)
    np.testing.assert_array_equal(
        load_emotion_map("goemotions", "meld").apply(p), load_emotion_map("goemotions", "ekman").apply(p)
    )
    assert load_emotion_map("goemotions", "meld").target.name == "meld"


def test_declared_composition_equals_one_map_after_the_other() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(7), size=5)
    step = load_emotion_map("ekman", "sentiment").apply(load_emotion_map("dailydialog", "ekman").apply(p))
    np.testing.assert_allclose(load_emotion_map("dailydialog", "sentiment").apply(p), step)


def test_undeclared_composition_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no map from 'emorynlp' to 'goemotions'.*ekman, sentiment"):
        load_emotion_map("emorynlp", "goemotions")


def test_identity_leaves_probabilities_alone() -> None:
    p = np.random.default_rng(1).random((2, 3, 28))
    np.testing.assert_allclose(load_emotion_map("goemotions", "goemotions").apply(p), p)


@pytest.mark.parametrize(("source", "target"), ALL_PAIRS)
def test_every_map_gives_certain_labels_a_certain_home(source: str, target: str) -> None:
    chosen = load_emotion_map(source, target)
    mapped = chosen.apply(np.eye(len(chosen.source)))
    kept = [place is not None for place in chosen.assignment]
    assert set(np.unique(mapped)) <= {0.0, 1.0}
    np.testing.assert_array_equal(mapped.sum(axis=-1), np.array(kept, dtype=float))


@pytest.mark.parametrize("pair", [pair for pair in ALL_PAIRS if not load_emotion_set(pair[0]).multi_label])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_single_label_maps_keep_totals(pair: tuple[str, str], data: st.DataObject) -> None:
    chosen = load_emotion_map(*pair)
    raw = data.draw(hnp.arrays(np.float32, (3, len(chosen.source)), elements=st.floats(0.125, 8, width=32)))
    p = raw / raw.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(chosen.apply(p).sum(axis=-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("pair", [pair for pair in ALL_PAIRS if load_emotion_set(pair[0]).multi_label])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_multi_label_maps_stay_between_the_greatest_member_and_one(
    pair: tuple[str, str], data: st.DataObject
) -> None:
    chosen = load_emotion_map(*pair)
    p = data.draw(hnp.arrays(np.float64, (2, len(chosen.source)), elements=st.floats(0, 1)))
    mapped = chosen.apply(p)
    for i, place in enumerate(chosen.assignment):
        if place is not None:
            assert np.all(mapped[:, place] >= p[:, i] - 1e-9)
    assert np.all((mapped >= 0) & (mapped <= 1))


def test_apply_refuses_wrong_width_and_logits() -> None:
    chosen = load_emotion_map("goemotions", "ekman")
    with pytest.raises(ValueError, match=r"shape \(2, 7\).*28"):
        chosen.apply(np.zeros((2, 7)))
    with pytest.raises(ValueError, match="not logits"):
        chosen.apply(np.full(28, 3.0))
    with pytest.raises(ValueError, match="not logits"):
        chosen.apply(np.full(28, np.nan))


def test_apply_keeps_the_floating_type() -> None:
    assert (
        load_emotion_map("goemotions", "ekman").apply(np.zeros((1, 28), dtype=np.float32)).dtype == np.float32
    )


def test_map_of_a_distribution_may_not_drop_mass() -> None:
    pair = load_emotion_set("sentiment")
    with pytest.raises(ConfigError, match="single-label"):
        EmotionMap(pair, pair, "project", True, "", (0, 1, 2, None))


def test_map_that_merges_must_say_lossy() -> None:
    pair = load_emotion_set("sentiment")
    with pytest.raises(ConfigError, match="lossy"):
        EmotionMap(pair, pair, "project", False, "", (0, 1, 2, 2))


def test_map_that_is_missing_lists_the_twins_of_a_set_too():
    with pytest.raises(ConfigError, match=r"from 'meld' there are maps to sentiment, ekman$"):
        load_emotion_map("meld", "emorynlp")
