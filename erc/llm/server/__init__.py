"""Label scores and texts from any server that speaks the OpenAI HTTP interface (vLLM, llama.cpp, SGLang)."""

from erc.llm.server.backend import ServerScorer
from erc.llm.server.environment import asked_mode, open_transport
from erc.llm.server.generating import ServerGenerator
from erc.llm.server.transport import ServerError, Transport, TransportSettings

__all__ = [
    "ServerError",
    "ServerGenerator",
    "ServerScorer",
    "Transport",
    "TransportSettings",
    "asked_mode",
    "open_transport",
]
