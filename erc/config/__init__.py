"""The one configuration tree of an experiment: frozen, typed, unknown keys refused.

A YAML file states only how an experiment differs from the defaults written here. Configurations stop at the
door: builders read these fields and pass plain arguments on, so nothing behind a builder ever sees this
package.

    config = load_config("configs/goemotions-minilm.yaml", ["optim.epochs=1", "head.hidden=256"])
"""

from erc.config.experiment import SCHEMA_VERSION, ExperimentConfig
from erc.config.loading import load_config
from erc.config.sections import (
    ArtefactConfig,
    BackboneConfig,
    DataConfig,
    DistillationConfig,
    EmoNetConfig,
    HeadConfig,
    LlmConfig,
    LlmStageConfig,
    LoraConfig,
    LossConfig,
    MultitaskConfig,
    OptimConfig,
    UncertaintyConfig,
)

__all__ = [
    "SCHEMA_VERSION",
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
    "UncertaintyConfig",
    "load_config",
]
