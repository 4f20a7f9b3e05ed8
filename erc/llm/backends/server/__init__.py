"""Label scores and texts from any server that speaks the OpenAI HTTP interface (vLLM, llama.cpp, SGLang)."""

from erc.llm.backends.server.generator import ServerGenerator
from erc.llm.backends.server.scorer import ServerScorer
from erc.llm.backends.server.settings import asked_mode, open_transport
from erc.llm.backends.server.transport import ServerError, Transport, TransportSettings

__all__ = [
    "ServerError",
    "ServerGenerator",
    "ServerScorer",
    "Transport",
    "TransportSettings",
    "asked_mode",
    "open_transport",
]
