"""Uncertainty estimates, calibration and decisions.

Everything is numpy: arrays in, arrays or small frozen objects out. Import from the modules.
"""
