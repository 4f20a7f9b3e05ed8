"""Exports everything stored about people as JSON Lines, and imports it into another memory.

The lines come in this order: `memory` (the header), `embedder`, `speaker`, `conversation`, `observation`,
`bio`, `audit`. Vectors are base64 of their little-endian bytes.

An import ignores `audit` lines. To undo a change, rows of the memory where it was made are needed, and no
line holds them.
"""

from speakers.export_import.exporter import export
from speakers.export_import.importer import Importer, ImportReceipt
from speakers.export_import.lines import parse

__all__ = ["ImportReceipt", "Importer", "export", "parse"]
