r"""Transcripts in, labelled transcripts out: one reader and one writer per format people have.

Read: `text` (`NAME: text`), `csv`, `tsv`, `jsonl` (or one JSON array), `vtt`, `srt`. Write: `jsonl`, `csv`,
`parquet`, `vtt`.

What happens to input that is not as it should be:

=============================  =====================================================================================
input                          what happens
=============================  =====================================================================================
a broken line, row or cue      told with file and line and skipped, the rest is read; with `strict` InputError
empty file, no turn at all     InputError that says so, with the first problem
one line                       one turn (a table needs its header line too)
binary file                    InputError that names what it looks like
encoding                       the byte-order mark decides (UTF-8, UTF-16, UTF-32); else UTF-8, and Windows-1252 with a
                               note for the lines that are not; UTF-16 without a mark is told by its zero
                               bytes
lone surrogates, NUL           U+FFFD with a problem; the turn stays
a turn of 200,000 characters   kept whole; readers do not truncate
a turn without text            told and skipped
a turn without a speaker       the speaker is `unknown`, with a note
`http://x`, `12:30`, `great :D` no speakers; `Note: so` is none either
`Ben:so`, `**Ben:** so`        speakers, where others speak or `Ben` looks like a name
`> Ana: so`, `ben: so`         more of the turn above, as they may be words; with a note that gives the lines
an utterance id standing twice a fresh id for the later one, with a problem
NaN, Infinity, deep nesting,   a broken line
numbers of 4,300 digits
a broken element of an array   it and what follows are not read, with a problem
a time that is none            left out with a problem; the turn stays
a timestamp that is no moment   kept in `meta["timestamp"]`, with a note; the order of the file stands
`[13/05/2024, 10:01] Ana: hi`  a turn with its timestamp, as chat programs export it: ISO 8601, or the day
first unless a day beyond
                               the twelfth or the order of the lines says that months come first; 12-hour
                               clocks too
a date that there is not       left out with a problem; the turn stays
a dated line without a name    a message of the chat program: passed over, with one note for all
an undated line in an export   more of the message above, though it begins with `PS:`; with one note for all
timestamps that run backwards  the turns are read in order of time, with a note; where some have none or they
contradict
                               each other, the order of the file stands, with a problem; up to 5 seconds count
                               as jitter
a quote left open in CSV       costs its own line, not the rest of the file
a labelled file of ours        read again; its predicted emotions are in `meta["record"]`, never gold labels
=============================  =====================================================================================

The conversation id is the file's name without its suffix unless a column gives one; utterance ids count from
0: `standup-0007` has index 7.
"""

from erc.transcripts.reading import READERS, iter_conversations, read_transcript
from erc.transcripts.sniffing import sniff
from erc.transcripts.types import UNKNOWN_SPEAKER, Draft, Line, Log, Problem, Reader, Sniffed, Transcript
from erc.transcripts.unique_ids import UniqueIds
from erc.transcripts.writers.records import utterance_record
from erc.transcripts.writing import (
    WRITERS,
    RecordWriter,
    open_writer,
    output_format,
    write_csv,
    write_jsonl,
    write_parquet,
    write_vtt,
)

__all__ = [
    "READERS",
    "UNKNOWN_SPEAKER",
    "WRITERS",
    "Draft",
    "Line",
    "Log",
    "Problem",
    "Reader",
    "RecordWriter",
    "Sniffed",
    "Transcript",
    "UniqueIds",
    "iter_conversations",
    "open_writer",
    "output_format",
    "read_transcript",
    "sniff",
    "utterance_record",
    "write_csv",
    "write_jsonl",
    "write_parquet",
    "write_vtt",
]
