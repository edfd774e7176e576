"""Compile the kernels ahead of their first use: `python -m pipeline.flow.cpu`."""

import numpy as np

from pipeline.flow.cpu.engine import tvl1

tvl1(np.zeros((2, 32, 32), np.uint8))
