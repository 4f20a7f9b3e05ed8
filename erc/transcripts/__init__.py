r"""Read transcripts and write labelled transcripts.

`erc.transcripts.formats.FORMATS` lists the formats. They read `text` (`NAME: text`), `csv`, `tsv`, `jsonl`
(or one JSON array), `vtt` and `srt`, and write `csv`, `jsonl`, `vtt` and `parquet`.

Readers skip what they cannot use and report it as a problem with file and line; with `strict` the first
problem raises InputError. Choices made for the user are reported as notes. In detail:

- Empty and binary files, and files without a single turn, raise InputError.
- The byte-order mark decides the encoding. Without one, a line is UTF-8, else Windows-1252 with a note.
- Lone surrogates and NUL become U+FFFD, with a problem. Long turns are not truncated.
- A turn without text is skipped. A turn without a speaker gets the speaker `unknown`, with a note.
- `Ben:so` and `**Ben:** so` name a speaker if `Ben` speaks elsewhere or looks like a name. `http://x`,
  `12:30`, `great :D` and `Note: so` never do.
- `> Ana: so` and `ben: so` continue the turn above; a note lists the lines.
- Chat exports (`[13/05/2024, 10:01] Ana: hi`) give timestamps. The day comes before the month unless a number
  above 12 or the order of the lines shows otherwise.
- In a chat export, a dated line without a name is skipped, and an undated line continues the message above.
- Turns are sorted by timestamp if these run backwards by more than 5 seconds, with a note. If a timestamp is
  missing or the timestamps contradict each other, the file order is kept, with a problem.
- Invalid times and dates are left out, with a problem. An unreadable timestamp stays in `meta["timestamp"]`.
- A repeated utterance id is replaced by a new one, with a problem.
- After an open quote in CSV, only its own line is skipped. After a broken element of a JSON array, the rest
  is not read.
- Files written by this package can be read again. Their predicted emotions are in `meta["record"]`, never in
  the gold labels.

The conversation id is the file name without its suffix unless a column gives one. Utterance ids count from 0:
`standup-0007` has index 7.
"""

from erc.transcripts.formats import FORMATS, Format, format_help, input_help, output_help
from erc.transcripts.reading import iter_conversations, read_transcript
from erc.transcripts.sniffing import sniff
from erc.transcripts.types import (
    UNKNOWN_SPEAKER,
    Draft,
    Line,
    Log,
    Problem,
    Reader,
    RecordWriter,
    Sniffed,
    Transcript,
)
from erc.transcripts.unique_ids import UniqueIds
from erc.transcripts.writing import open_writer, output_format

__all__ = [
    "FORMATS",
    "UNKNOWN_SPEAKER",
    "Draft",
    "Format",
    "Line",
    "Log",
    "Problem",
    "Reader",
    "RecordWriter",
    "Sniffed",
    "Transcript",
    "UniqueIds",
    "format_help",
    "input_help",
    "iter_conversations",
    "open_writer",
    "output_format",
    "output_help",
    "read_transcript",
    "sniff",
]
