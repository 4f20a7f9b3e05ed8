"""The folder tree: folders have few entries, and every module with logic has a known test file."""

from __future__ import annotations

import grimp
import pytest
from source_map import ROOT, TESTS, has_logic, imported_modules, mirrored_folder, module_paths

ROOMS = ("erc/inference", "erc/training", "erc/llm", "erc/memory")
MOST_ENTRIES = 12

TESTED_AT = {
    "erc": "api/test_api_import.py",
    "erc.api.evaluation": "api/test_api_experiments.py",
    "erc.api.html": "api/test_api_result.py",
    "erc.api.inputs": "api/test_api_import.py",
    "erc.api.live": "api/test_api_memory.py",
    "erc.api.predictor": "api/test_api_result.py",
    "erc.api.result": "api/test_api_result.py",
    "erc.api.table": "cli/test_cli_models.py",
    "erc.api.training": "api/test_api_experiments.py",
    "erc.cli": "contracts/test_command.py",
    "erc.cli.bios": "llm/generation/test_generation_bios.py",
    "erc.cli.evaluate": "cli/test_cli_evaluate.py",
    "erc.cli.evaluate_tables": "cli/test_cli_evaluate.py",
    "erc.cli.models": "cli/test_cli_models.py",
    "erc.cli.speakers.changes": "speakers/cli/test_speakers_cli_changes.py",
    "erc.cli.speakers.erasure": "speakers/cli/test_speakers_cli_erasure.py",
    "erc.cli.speakers.inspect": "speakers/cli/test_speakers_cli_inspect.py",
    "erc.cli.speakers.options": "speakers/cli/test_speakers_cli_inspect.py",
    "erc.cli.speakers.policy": "speakers/cli/test_speakers_cli_erasure.py",
    "erc.cli.speakers.transfer": "speakers/cli/test_speakers_cli_transfer.py",
    "erc.cli.train": "cli/test_cli_train.py",
    "erc.config.experiment": "test_config.py",
    "erc.config.explaining": "test_config.py",
    "erc.config.llm": "test_config.py",
    "erc.config.loading": "test_config.py",
    "erc.config.sections": "test_config.py",
    "erc.config.source": "test_config.py",
    "erc.data.corpora.archives": "data/test_data_import.py",
    "erc.data.corpora.corpus": "data/test_data_readers.py",
    "erc.data.corpora.dailydialog": "data/test_data_readers.py",
    "erc.data.corpora.emorynlp": "data/test_data_readers.py",
    "erc.data.corpora.goemotions": "data/test_data_readers.py",
    "erc.data.corpora.hub": "data/test_data_import.py",
    "erc.data.corpora.importing": "data/test_data_import.py",
    "erc.data.corpora.inventory": "data/test_data_registry.py",
    "erc.data.corpora.meld": "data/test_data_readers.py",
    "erc.data.corpora.registry": "data/test_data_registry.py",
    "erc.data.corpora.semeval2018": "data/test_data_readers.py",
    "erc.data.corpora.spec": "data/test_data_corpus_table.py",
    "erc.data.corpora.splits": "training/llm/test_training_llm_stages.py",
    "erc.data.corpora.summary": "data/test_data_registry.py",
    "erc.evaluation.candidates": "evaluation/test_evaluation_evaluate.py",
    "erc.evaluation.find": "cli/test_cli_evaluate.py",
    "erc.evaluation.llm_candidate": "llm/commands/test_commands_evaluate.py",
    "erc.evaluation.memory": "llm/commands/test_commands_evaluate.py",
    "erc.inference.cascade": "llm/backends/test_backends_live.py",
    "erc.inference.chronological_stream": "memory/test_memory_predictor.py",
    "erc.inference.demonstrations": "llm/commands/test_commands_recipes.py",
    "erc.inference.kinds": "extending/test_extending_conversation_model.py",
    "erc.inference.live.conversation": "inference/scorers/test_scorers_emonet.py",
    "erc.inference.live.emonet": "inference/scorers/test_scorers_emonet.py",
    "erc.inference.live.llm": "llm/backends/test_backends_live.py",
    "erc.inference.live.reader": "llm/backends/test_backends_live.py",
    "erc.inference.llm_loading": "llm/commands/test_commands_label.py",
    "erc.inference.prediction": "inference/test_inference_predictor.py",
    "erc.inference.scorers.bio_vectors": "training/emonet/test_training_emonet_bioserc.py",
    "erc.inference.scorers.caching": "memory/test_memory_corpus.py",
    "erc.inference.scorers.history": "memory/test_memory_predictor.py",
    "erc.inference.scorers.llm": "llm/backends/test_backends_live.py",
    "erc.inference.scorers.llm_belief": "llm/backends/test_backends_live.py",
    "erc.inference.scorers.llm_model": "llm/backends/test_backends_live.py",
    "erc.inference.scorers.prompt_notes": "llm/commands/test_commands_memory.py",
    "erc.inference.scorers.scores": "extending/test_extending_conversation_model.py",
    "erc.llm.backends.generate": "llm/generation/test_generation_text_store.py",
    "erc.llm.backends.live": "llm/backends/test_backends_local.py",
    "erc.llm.backends.server.chat": "llm/backends/server/test_server_chat.py",
    "erc.llm.prompts.truncation": "llm/prompts/test_prompts_builder.py",
    "erc.llm.recipes": "training/llm/test_training_llm_stages.py",
    "erc.llm.scoring.masks": "llm/scoring/test_scoring_exact.py",
    "erc.memory.bio_writer": "llm/generation/test_generation_bios.py",
    "erc.memory.training_inputs": "training/emonet/test_training_emonet_bioserc.py",
    "erc.metrics.figures.canvas": "metrics/test_metrics_figures.py",
    "erc.metrics.figures.curves": "metrics/test_metrics_figures.py",
    "erc.metrics.figures.labels": "metrics/test_metrics_figures.py",
    "erc.metrics.figures.uncertainty": "metrics/test_metrics_figures.py",
    "erc.metrics.selective_report": "metrics/test_metrics_reports.py",
    "erc.models.context.base": "models/context/test_context_modes.py",
    "erc.models.context.window": "models/context/test_context_modes.py",
    "erc.models.encoder.tokenizing": "training/utterance/test_training_utterance_task.py",
    "erc.models.outputs": "models/emonet/test_emonet_network.py",
    "erc.models.speaker_embedding": "models/emonet/test_emonet_network.py",
    "erc.models.speaker_past": "training/emonet/test_training_emonet_experiment.py",
    "erc.models.turn_batch": "models/emonet/test_emonet_network.py",
    "erc.models.turn_builder": "training/emonet/test_training_emonet_experiment.py",
    "erc.persistence.card": "training/utterance/test_training_utterance_experiment.py",
    "erc.resources": "contracts/test_configs.py",
    "erc.training.emonet.card": "training/emonet/test_training_emonet_bioserc.py",
    "erc.training.emonet.experiment": "training/emonet/test_training_emonet_bioserc.py",
    "erc.training.emonet.finish": "training/emonet/test_training_emonet_bioserc.py",
    "erc.training.experiment": "training/utterance/test_training_utterance_experiment.py",
    "erc.training.inputs": "training/llm/test_training_llm_experiment.py",
    "erc.training.llm.card": "training/llm/test_training_llm_experiment.py",
    "erc.training.loop.run_folder": "training/loop/test_loop_trainer.py",
    "erc.training.multitask.task": "training/emonet/test_training_emonet_experiment.py",
    "erc.training.utterance.card": "training/utterance/test_training_utterance_experiment.py",
    "erc.training.utterance.distillation": "training/utterance/test_training_utterance_experiment.py",
    "erc.training.utterance.experiment": "training/utterance/test_training_utterance_experiment.py",
    "erc.training.utterance.finish": "training/utterance/test_training_utterance_experiment.py",
    "erc.transcripts.assembling": "transcripts/test_transcripts_reading.py",
    "erc.transcripts.decoding": "transcripts/test_transcripts_reading.py",
    "erc.transcripts.ordering": "transcripts/test_transcripts_ordering.py",
    "erc.transcripts.readers.captions": "transcripts/readers/test_readers_captions.py",
    "erc.transcripts.readers.columns": "transcripts/readers/test_readers_table.py",
    "erc.transcripts.readers.hints": "transcripts/readers/test_readers_text.py",
    "erc.transcripts.readers.jsonl": "transcripts/readers/test_readers_table.py",
    "erc.transcripts.readers.speaker_names": "transcripts/readers/test_readers_text.py",
    "erc.transcripts.readers.srt": "transcripts/readers/test_readers_captions.py",
    "erc.transcripts.readers.table": "transcripts/readers/test_readers_table.py",
    "erc.transcripts.readers.text": "transcripts/readers/test_readers_text.py",
    "erc.transcripts.readers.values": "transcripts/test_transcripts_reading.py",
    "erc.transcripts.readers.vtt": "transcripts/readers/test_readers_captions.py",
    "erc.transcripts.types": "transcripts/test_transcripts_reading.py",
    "erc.transcripts.writers.csv_jsonl": "transcripts/test_transcripts_writers.py",
    "erc.transcripts.writers.parquet": "transcripts/test_transcripts_writers.py",
    "erc.transcripts.writers.records": "transcripts/test_transcripts_writers.py",
    "erc.transcripts.writers.vtt": "transcripts/test_transcripts_writers.py",
    "erc.uncertainty.checks": "uncertainty/test_uncertainty_calibration.py",
    "erc.uncertainty.records": "uncertainty/test_uncertainty_calibration.py",
    "speakers.aliases": "speakers/test_speakers_identity.py",
    "speakers.audit": "speakers/cli/test_speakers_cli_inspect.py",
    "speakers.bio_writing": "speakers/test_speakers_history.py",
    "speakers.erasure.deletion": "speakers/test_speakers_erasure.py",
    "speakers.erasure.eraser": "speakers/test_speakers_erasure.py",
    "speakers.erasure.files": "speakers/test_speakers_erasure.py",
    "speakers.erasure.requests": "speakers/test_speakers_erasure.py",
    "speakers.erasure.retention": "speakers/test_speakers_erasure.py",
    "speakers.export_import": "speakers/test_speakers_machine.py",
    "speakers.export_import.exporter": "speakers/test_speakers_erasure.py",
    "speakers.export_import.importer": "speakers/test_speakers_erasure.py",
    "speakers.export_import.lines": "speakers/test_speakers_erasure.py",
    "speakers.export_import.speaker_import": "speakers/test_speakers_erasure.py",
    "speakers.identity": "speakers/test_speakers_identity.py",
    "speakers.registry.identities": "speakers/test_speakers_identity.py",
    "speakers.registry.part": "speakers/test_speakers_identity.py",
    "speakers.registry.registry": "speakers/test_speakers_recording.py",
    "speakers.registry.turns": "speakers/test_speakers_recording.py",
    "speakers.resolving": "speakers/test_speakers_identity.py",
    "speakers.session": "speakers/test_speakers_recording.py",
    "speakers.store.bulk": "speakers/test_speakers_recording.py",
    "speakers.store.codec": "speakers/store/test_store_engine.py",
    "speakers.store.error_mapping": "speakers/store/test_store_engine.py",
    "speakers.store.tables": "speakers/test_speakers_recording.py",
}
"""Test files of modules that no test file in their own folder imports, as MODULE: FILE under tests/.

They are tested through another module or through the command.
"""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("erc", "speakers", cache_dir=None)


@pytest.mark.parametrize("room", ROOMS)
def test_room_has_at_most_twelve_entries(room: str) -> None:
    """Counts its files and folders, including __init__.py but not __pycache__ and hidden files."""
    entries = sorted(
        path.name
        for path in (ROOT / room).iterdir()
        if path.name != "__pycache__" and not path.name.startswith(".")
    )
    assert len(entries) <= MOST_ENTRIES, ", ".join(entries)


def test_every_module_with_logic_has_a_test_file() -> None:
    """Its own folder under tests/ has a file that imports it, or TESTED_AT names the file."""
    untested = [
        module
        for module, path in module_paths().items()
        if has_logic(path.read_text(encoding="utf-8"))
        and module not in TESTED_AT
        and not any(module in imported_modules(test) for test in mirrored_folder(module).glob("test_*.py"))
    ]
    assert not untested


@pytest.mark.parametrize("module", TESTED_AT)
def test_tested_at_names_a_test_file_that_reaches_the_module(module: str, graph: grimp.ImportGraph) -> None:
    """The file imports the module, directly or through its other imports and tests/support helpers."""
    path = TESTS / TESTED_AT[module]
    assert module in module_paths()
    assert path.is_file()
    text = path.read_text(encoding="utf-8")
    helpers = [helper for helper in (TESTS / "support").glob("*.py") if f"from {helper.stem} import" in text]
    assert f"from {module} import" in text or any(
        module == imported or graph.chain_exists(importer=imported, imported=module)
        for file in (path, *helpers)
        for imported in imported_modules(file)
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f():\n    return 1", True),
        ("class A:\n    @property\n    def b(self):\n        return 1", True),
        ("if True:\n    def f():\n        return 1", True),
        ("from erc.x import f\nX = 1", False),
        ("class A(Protocol):\n    def f(self) -> int:\n        '''Doc.'''\n        ...", False),
        ("class A(Protocol[T]):\n    def f(self): return 1", False),
        ("@dataclass\nclass A:\n    x: int = 0", False),
    ],
)
def test_logic_is_a_function_with_a_body_outside_a_protocol(source: str, expected: bool) -> None:
    assert has_logic(source) is expected
