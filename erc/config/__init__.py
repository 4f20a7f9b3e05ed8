"""The configuration of an experiment: frozen and typed; unknown keys are refused.

A YAML file states only how an experiment differs from the defaults here. Builders read these fields and pass
plain arguments to the code they call, which does not import this package.

    config = load_config("configs/goemotions-minilm.yaml", ["optim.epochs=1", "head.hidden=256"])
"""

from erc.config.emonet import EmoNetConfig
from erc.config.experiment import TASK_SECTIONS, ExperimentConfig
from erc.config.llm import LlmConfig, LlmStageConfig, LoraConfig
from erc.config.loading import load_config
from erc.config.multitask import MultitaskConfig
from erc.config.sections import (
    ArtefactConfig,
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    OptimConfig,
    UncertaintyConfig,
)
from erc.config.tasks import SCHEMA_VERSION, TaskSection
from erc.config.utterance import DistillationConfig

__all__ = [
    "SCHEMA_VERSION",
    "TASK_SECTIONS",
    "ArtefactConfig",
    "BackboneConfig",
    "DataConfig",
    "DistillationConfig",
    "EmoNetConfig",
    "ExperimentConfig",
    "HeadConfig",
    "LlmConfig",
    "LlmStageConfig",
    "LoraConfig",
    "LossConfig",
    "MultitaskConfig",
    "OptimConfig",
    "TaskSection",
    "UncertaintyConfig",
    "load_config",
]
