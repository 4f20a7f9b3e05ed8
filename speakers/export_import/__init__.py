"""Exports everything stored about people as JSON Lines, and imports it into another memory.

The lines come in this order: `memory` (the header), `embedder`, `speaker`, `conversation`, `observation`,
`bio`, `audit`. Vectors are base64 of their little-endian bytes.

An import ignores `audit` lines. Undoing a change needs rows that only the original memory has.
"""

from speakers.export_import.exporter import export
from speakers.export_import.importer import Importer, ImportReceipt
from speakers.export_import.lines import parse

__all__ = ["ImportReceipt", "Importer", "export", "parse"]
