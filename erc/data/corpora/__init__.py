"""Published corpora: EmoryNLP, MELD, GoEmotions, SemEval-2018 E-c and DailyDialog.

`CORPORA` is the table of corpora; commands, the importer and the leak filter read it.
"""

from erc.data.corpora.corpus import Anomaly, Corpus, CorpusFile, chronological
from erc.data.corpora.registry import CORPORA, corpora, corpus_spec, find_sources, load_corpus, sniff
from erc.data.corpora.spec import CorpusLayout, CorpusSpec, HubCopy
from erc.data.corpora.summary import CorpusSummary, summarise

__all__ = [
    "CORPORA",
    "Anomaly",
    "Corpus",
    "CorpusFile",
    "CorpusLayout",
    "CorpusSpec",
    "CorpusSummary",
    "HubCopy",
    "chronological",
    "corpora",
    "corpus_spec",
    "find_sources",
    "load_corpus",
    "sniff",
    "summarise",
]
