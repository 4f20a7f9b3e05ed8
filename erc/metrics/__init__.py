"""Metrics, intervals over dialogues, calibration errors, reports and figures.

Import from the files themselves; matplotlib is imported only when a figure is drawn.
"""
