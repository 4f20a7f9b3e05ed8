"""Generated corpora in which a single ingredient determines the label."""

from __future__ import annotations

from collections import Counter

import pytest
from planted import INGREDIENTS, LABELS, MOODS, embed, plant
from planted_models import accuracy_on, build_base, chance_interval, recipe_config, train_recipe

from erc.data.leaks import LeakFilter
from erc.llm.prompts.demonstrations import DemonstrationIndex, TurnSource

SMALL = (40, 8, 16)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return build_base(tmp_path_factory.mktemp("planted") / "base")


def labelled(corpus):
    return [(dialogue, turn) for dialogue in corpus.conversations for turn in dialogue if turn.emotions]


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_labels_are_balanced(ingredient):
    counts = Counter(
        turn.emotions[0] for _, turn in labelled(plant(ingredient, seed=3, sizes=SMALL).held_out)
    )
    assert counts == dict.fromkeys(LABELS, SMALL[2] * 3 // len(LABELS))


def test_planted_dialogue_has_the_mood_word_only_in_the_turn_before():
    words = {word for mood in MOODS.values() for word in mood}
    for dialogue, turn in labelled(plant("dialogue", seed=3, sizes=SMALL).train):
        found = {earlier.index: set(earlier.text.split()) & words for earlier in dialogue}
        [said] = found.pop(turn.index - 1)
        assert said in MOODS[turn.emotions[0]]
        assert not any(found.values())


def test_nearest_demonstration_has_the_label_of_the_target():
    world = plant("demonstration", seed=3, sizes=SMALL)
    index = DemonstrationIndex.build(world.shown.conversations, embed, leaks=LeakFilter.of([]), labels=LABELS)
    for dialogue, turn in (*labelled(world.trial), *labelled(world.held_out)):
        (shown,) = index.search(embed([turn.text])[0], text=turn.text, origin=TurnSource.of(dialogue), k=1)
        assert shown.emotion == turn.emotions[0]


def test_held_out_splits_share_no_codes_with_other_splits():
    world = plant("demonstration", seed=3, sizes=SMALL)
    splits = (world.train, world.trial, world.held_out)
    trained, tried, held_out = (
        {tuple(turn.text.split()[:2]) for _, turn in labelled(corpus)} for corpus in splits
    )
    assert trained.isdisjoint(tried | held_out)
    assert tried.isdisjoint(held_out)


@pytest.mark.parametrize("ingredient", ["bio", "history"])
def test_world_without_its_ingredient_keeps_the_other_notes(ingredient):
    world = plant(ingredient, seed=3, sizes=SMALL)
    dialogue, turn = labelled(world.train)[0]
    before, after = (w.inputs.notes.of(dialogue, turn.index) for w in (world, world.without()))
    gone, kept = ("bios", "history") if ingredient == "bio" else ("history", "bios")
    assert getattr(before, gone)
    assert not getattr(after, gone)
    assert getattr(after, kept) == getattr(before, kept)


@pytest.mark.parametrize(
    ("recipe", "ingredient", "sizes", "epochs"),
    [
        ("speaker-memory", "history", (160, 12, 40), 2.5),
        ("speaker-memory", "bio", (200, 12, 40), 4.0),
        ("speaker-memory", "demonstration", (220, 12, 40), 4.0),
        ("speaker-memory", "dialogue", (240, 12, 40), 5.0),
    ],
)
def test_recipe_learns_from_its_ingredient_and_is_at_chance_without_it(
    tmp_path, base, recipe, ingredient, sizes, epochs
):
    world = plant(ingredient, seed=0, sizes=sizes)
    config = recipe_config(recipe, base, world, epochs=epochs, batch_size=8, learning_rate=3e-3)
    adapter = train_recipe(config, world, tmp_path)
    accuracy, turns = accuracy_on("held_out", config, adapter, world)
    assert accuracy > 0.9
    low, high = chance_interval(turns)
    assert low <= accuracy_on("held_out", config, adapter, world.without())[0] <= high
