"""Readers of published corpora: EmoryNLP, MELD, GoEmotions, SemEval-2018 E-c and DailyDialog."""

from erc.data.corpora.corpus import Anomaly, Corpus, CorpusFile, chronological
from erc.data.corpora.registry import corpora, find_sources, iter_splits, load_corpus, sniff
from erc.data.corpora.summary import CorpusSummary, summarise

__all__ = [
    "Anomaly",
    "Corpus",
    "CorpusFile",
    "CorpusSummary",
    "chronological",
    "corpora",
    "find_sources",
    "iter_splits",
    "load_corpus",
    "sniff",
    "summarise",
]
