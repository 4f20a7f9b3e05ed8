"""The speaker memory: who spoke, what they felt before, and how to forget them.

It depends on neither `erc` nor any emotion model. Start with `Registry.open`.
"""

from speakers.bios import DETERMINISTIC, BioWriter
from speakers.errors import SpeakersError
from speakers.history import SummaryRule
from speakers.name_map import NameMap
from speakers.records import (
    Bio,
    ConversationLabel,
    Embedder,
    Observation,
    Passage,
    Point,
    Recall,
    Receipt,
    Resolution,
    Speaker,
    SpeakerContext,
    SpeakerId,
    StoredUncertainty,
    Summary,
)
from speakers.registry import END, Options, Registry
from speakers.tenant import Policy

__all__ = [
    "DETERMINISTIC",
    "END",
    "Bio",
    "BioWriter",
    "ConversationLabel",
    "Embedder",
    "NameMap",
    "Observation",
    "Options",
    "Passage",
    "Point",
    "Policy",
    "Recall",
    "Receipt",
    "Registry",
    "Resolution",
    "Speaker",
    "SpeakerContext",
    "SpeakerId",
    "SpeakersError",
    "StoredUncertainty",
    "Summary",
    "SummaryRule",
]
