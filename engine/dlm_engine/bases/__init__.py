"""Base models: their names, licences, weights and the facts others need about them.

Importing this room loads neither torch nor transformers; what needs them says so.
"""

from dlm_engine.bases.cache import cache_root
from dlm_engine.bases.licences import (
    AcceptedVia,
    LicenceAcceptance,
    accept,
    require_licence,
)
from dlm_engine.bases.probes import Outcome, ProbeResult, probe
from dlm_engine.bases.registry import NOT_OFFERED, REGISTRY
from dlm_engine.bases.resolve import pin_for, resolve
from dlm_engine.bases.spec import ARCHITECTURES, Architecture, BaseSpec, Origin, Weights
from dlm_engine.bases.tensors import Stored, stored_tensors
from dlm_engine.bases.tokens import TokenFacts, load_tokenizer, token_facts
from dlm_engine.bases.weights import config, find_weights, obtain_weights, verify_weights

__all__ = [
    "ARCHITECTURES",
    "NOT_OFFERED",
    "REGISTRY",
    "AcceptedVia",
    "Architecture",
    "BaseSpec",
    "LicenceAcceptance",
    "Origin",
    "Outcome",
    "ProbeResult",
    "Stored",
    "TokenFacts",
    "Weights",
    "accept",
    "cache_root",
    "config",
    "find_weights",
    "load_tokenizer",
    "obtain_weights",
    "pin_for",
    "probe",
    "require_licence",
    "resolve",
    "stored_tensors",
    "token_facts",
    "verify_weights",
]
