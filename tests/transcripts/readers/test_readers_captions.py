import io

from erc.transcripts import read_transcript


def read(text, format=None):
    return read_transcript(io.BytesIO(text.encode()), name="call", format=format)


def pairs(text):
    return [(u.speaker, u.text) for c in read(text).conversations for u in c]


def vtt(*cues):
    return (
        "WEBVTT\n\n"
        + "\n\n".join(f"00:00:{start:06.3f} --> 00:00:{end:06.3f}\n{payload}" for start, end, payload in cues)
        + "\n"
    )


def test_vtt_voice_fragments_are_joined_and_their_cues_kept():
    utterance = (
        read(vtt((1, 2, "<v Jane Doe>Hi &amp;</v>"), (3, 4, "<v Jane Doe>you.</v>")))
        .conversations[0]
        .utterances[0]
    )
    assert (utterance.speaker, utterance.text, utterance.start, utterance.end) == (
        "Jane Doe",
        "Hi & you.",
        1.0,
        4.0,
    )
    assert [(c["start"], c["text"]) for c in utterance.meta["cues"]] == [(1.0, "Hi &"), (3.0, "you.")]


def test_vtt_pause_of_more_than_two_seconds_splits_turns():
    assert pairs(vtt((1, 2, "<v Jo>well</v>"), (4.001, 5, "<v Jo>no</v>"))) == [("Jo", "well"), ("Jo", "no")]


def test_vtt_sentence_end_splits_turns():
    assert pairs(vtt((1, 2, "<v Jo>Well.</v>"), (2, 3, "<v Jo>No.</v>"))) == [("Jo", "Well."), ("Jo", "No.")]


def test_vtt_two_voices_in_one_cue_are_two_turns():
    assert pairs(vtt((1, 2, "<v Jo>Yes!</v>\n<v Al>No!</v>"))) == [("Jo", "Yes!"), ("Al", "No!")]


def test_vtt_zoom_names_are_speakers():
    assert pairs("WEBVTT\n\n33\n00:02:24.720 --> 00:02:32.850\nSamson Zhang: gotcha\n") == [
        ("Samson Zhang", "gotcha")
    ]


def test_vtt_bracketed_name_applies_until_the_next():
    text = vtt((1, 2, "(Ann Lee)\nOne."), (3, 4, "Two."), (5, 6, "(Bo)\nThree."))
    assert pairs(text) == [("Ann Lee", "One."), ("Ann Lee", "Two."), ("Bo", "Three.")]


def test_vtt_broken_times_are_reported_with_their_line():
    transcript = read(
        vtt((1, 2, "<v Jo>Yes.</v>"))
        + "\n00:00:xx --> 00:00:05.000\nlost\n\n00:00:06.000 --> 00:00:07.000\n<v Jo>Still here.</v>\n"
    )
    assert [u.text for u in transcript.conversations[0]] == ["Yes.", "Still here."]
    assert [p.line for p in transcript.problems] == [6]


def test_vtt_notes_and_styles_are_not_turns():
    assert pairs("WEBVTT\n\nNOTE secret\n\nSTYLE\n::cue {}\n\n00:01.000 --> 00:02.000\nJo: hi\n") == [
        ("Jo", "hi")
    ]


def test_srt_labels_and_names_are_speakers():
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\n[SPEAKER_00]: hi.\n\n2\n00:00:03,000 --> 00:00:04,000\nANA: you.\n"
    )
    assert pairs(text) == [("SPEAKER_00", "hi."), ("ANA", "you.")]


def test_srt_dashes_split_two_speakers():
    assert [text for _, text in pairs("1\n00:00:01,000 --> 00:00:02,000\n- Where\n- Here\n")] == [
        "Where",
        "Here",
    ]


def test_srt_blank_line_in_a_caption_loses_nothing():
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\nANA: one\n\ntwo 42\n\n"
        "2\n00:00:02,500 --> 00:00:04,000\nANA: three\n42\n"
    )
    assert pairs(text) == [("ANA", "one two 42 three 42")]


def test_srt_cue_with_broken_times_is_not_added_to_the_previous_cue():
    transcript = read("1\n00:00:01,000 --> 00:00:02,000\nANA: one\n\n2\n00:00 --> oops\nANA: lost\n")
    assert [u.text for u in transcript.conversations[0]] == ["one"]
    assert [p.line for p in transcript.problems] == [5]
