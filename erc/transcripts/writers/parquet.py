"""Writer of Parquet with one fixed schema, so that files of different runs can be read together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from erc.errors import InputError
from erc.transcripts.writers.records import name_of, plain

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 1000
"""Records held in memory before they are written."""


def record_schema() -> pa.Schema:
    """The columns of a labelled turn, in the order of the JSON record. All may be null."""
    import pyarrow as pa

    number, text = pa.float64(), pa.string()
    fine = pa.struct([("emotion", text), ("probability", number), ("epistemic", number)])
    return pa.schema(
        [
            ("conversation_id", text),
            ("utterance_id", text),
            ("index", pa.int64()),
            ("speaker", text),
            ("speaker_id", text),
            ("text", text),
            ("start", number),
            ("end", number),
            ("timestamp", text),
            ("emotion", text),
            ("confidence", number),
            ("probabilities", pa.map_(text, number)),
            ("fine", pa.list_(fine)),
            ("uncertainty", pa.struct([("total", number), ("aleatoric", number), ("epistemic", number)])),
            ("decision", text),
            ("model", text),
            ("history", pa.struct([("utterances", pa.int64()), ("conversations", pa.int64())])),
            ("truncated", pa.bool_()),
            ("prompt", text),
            ("score_kind", text),
        ],
        metadata={"convemo_record_version": "1"},
    )


class ParquetWriter:
    """Writes row groups of `ROWS_PER_GROUP` records with `record_schema`; other keys are left out."""

    def __init__(self, stream: BinaryIO) -> None:
        import pyarrow.parquet as pq

        self._schema = record_schema()
        self._sink = _Counting(stream)
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def write(self, record: Mapping[str, Any]) -> None:
        """Buffer one record.

        Raises:
            InputError: for a value that does not fit its column.
        """
        try:
            row = {name: plain(record.get(name)) for name in self._schema.names}
        except TypeError as error:
            raise InputError(f"{name_of(record)}: {error}") from error
        if row["probabilities"] is not None:
            row["probabilities"] = list(row["probabilities"].items())
        self._rows.append(row)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write the last row group and the footer.

        Raises:
            InputError: for a value that does not fit its column.
        """
        if self._rows:
            self._flush()
        self._writer.close()

    def discard(self) -> None:
        """Release the stream without writing a footer, so that the partial file is invalid."""
        self._sink.muted = True
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        try:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(
                f"a value does not fit its Parquet column, in or after {name_of(self._rows[0])}: {error}"
            ) from error
        self._writer.write_table(table)
        self._rows = []


class _Counting:
    """Counts the bytes written, because a pipe has no position. Leaves the caller's stream open."""

    closed = False
    mode = "wb"
    muted = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._position = 0

    def write(self, data: bytes) -> int:
        if not self.muted:
            self._stream.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        if not self.muted:
            self._stream.flush()

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False
