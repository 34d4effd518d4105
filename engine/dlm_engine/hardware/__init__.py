"""Hardware: what this machine is, how training runs on it, and what it refuses.

Importing this room does not import torch; `detect` does where it is installed.
"""

from dlm_engine.hardware.machine import (
    Hardware,
    bf16_on_cpu,
    detect,
    detect_light,
    gpus,
    measure_bf16_gain,
)
from dlm_engine.hardware.memory import GALORE_SHARE, HEAD_CHUNK, Estimate, Workload, estimate
from dlm_engine.hardware.model_shape import (
    CUTTABLE,
    ModelShape,
    approximate_shape,
    shape_of,
    trained_layers,
)
from dlm_engine.hardware.plan import Company, Plan, plan
from dlm_engine.hardware.report import BaseFacts, DoctorReport, capabilities, report

__all__ = [
    "CUTTABLE",
    "GALORE_SHARE",
    "HEAD_CHUNK",
    "BaseFacts",
    "Company",
    "DoctorReport",
    "Estimate",
    "Hardware",
    "ModelShape",
    "Plan",
    "Workload",
    "approximate_shape",
    "bf16_on_cpu",
    "capabilities",
    "detect",
    "detect_light",
    "estimate",
    "gpus",
    "measure_bf16_gain",
    "plan",
    "report",
    "shape_of",
    "trained_layers",
]
