"""Belief, calibration and decision: what the model does not know, what its numbers mean, and what to do about it.

Everything here is numpy: an array in, an array or a small frozen object out. Import from the files
themselves.
"""
