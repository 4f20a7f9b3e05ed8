"""The Python interface behind `import erc`: a thin layer over the predictor, the memory and the trainer.

- `predictor`: `erc.load` and the object it returns.
- `inputs`: paths, texts, pairs, records and data frames become conversations.
- `result`: what labelling returns; `table` and `html` show it.
- `live`: a conversation that is labelled turn by turn.
- `evaluation`, `training`: `erc.evaluate` and `erc.train`.
"""
