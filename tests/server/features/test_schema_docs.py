"""What editors say about the frontmatter is what the schema and training do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.server.features.cursor import HEAD

from dlm_engine.bases.spec import MLP
from dlm_engine.document import parse
from dlm_engine.document.frontmatter import PLANNED_FIELDS
from dlm_engine.errors import TrainingError
from dlm_engine.training.support import require_supported
from dlm_server.features.schema_docs import ANY, Shape, key_doc, keys_in, summary, table

ROOT = Path(__file__).resolve().parents[3]


def test_every_key_is_there_once_with_a_sentence() -> None:
    assert len(table()) == 64
    for path, doc in table().items():
        assert doc.description.endswith("."), path
        assert summary(doc), path


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("training.lora_r", "whole number from 1 to 256, default 8, planned when left out"),
        (
            "training.adapters.tone.lora_r",
            "whole number from 1 to 256, default 8, planned when left out",
        ),
        (
            "training.optimizer",
            "adamw_torch, adamw_bnb_8bit, paged_adamw_8bit, galore_adamw, "
            "galore_adamw_8bit, default adamw_torch",
        ),
        ("training.sources.3.path", "text, required"),
        ("training.sources.0.include", 'list of texts, default ["**/*"]'),
        ("training.gate.lr", "number above 0 and at most 1, default 0.0003"),
        ("training.precision", "bf16, fp16, fp32 or null"),
        ("training.cache.enabled", "true or false, default true"),
        ("training.seed", "whole number, default 42"),
        ("training", "settings"),
    ],
)
def test_a_key_is_summed_up(path: str, words: str) -> None:
    doc = key_doc([int(step) if step.isdigit() else step for step in path.split(".")])
    assert doc is not None
    assert summary(doc) == words


def test_what_holds_no_keys_has_none() -> None:
    assert keys_in(("training", "adapters")) == ()
    assert keys_in(("dlm_id",)) == ()
    assert keys_in(("nonsense",)) == ()
    assert key_doc(("training", "nonsense")) is None


def test_planned_fields_are_those_that_training_plans() -> None:
    folder = ROOT / "engine/dlm_engine/training"
    text = "".join((folder / f"{name}.py").read_text("utf-8") for name in ("settings", "planning"))
    found = re.findall(r'authored\("(\w+)"\)|"(\w+)" (?:not )?in (?:wrote|training\.model_f)', text)
    assert {one or other for one, other in found} == set(PLANNED_FIELDS)


def _block(path: tuple[str, ...], value: str) -> str:
    """Frontmatter in which only this setting is written."""
    lines = [f"{'  ' * i}{step}:" for i, step in enumerate(path)]
    return HEAD[:-4] + "\n".join([*lines[:-1], f"{lines[-1]} {value}"]) + "\n---\ntext\n"


@pytest.mark.parametrize(
    "path", [p for p, d in table().items() if ANY not in p and d.shape is Shape.SCALAR]
)
def test_a_setting_that_training_refuses_says_so(path: tuple[str, ...]) -> None:
    doc = table()[path]
    values = [c for c in doc.choices if c not in ("null", doc.default)]
    values = values or ["2" if doc.default in ("0", "null") else str(doc.default)]
    refused = False
    for value in values:
        document, _ = parse(_block(path, value))
        if document.frontmatter is None:
            continue
        try:
            require_supported(document, document.frontmatter, MLP)
        except TrainingError:
            refused = True
    assert refused == ("refuse" in doc.description)


def test_features_load_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from dlm_engine.document import LiveDocument\n"
        "import dlm_server.features.completion, dlm_server.features.hover\n"
        "import dlm_server.features.actions, dlm_server.features.links\n"
        "assert 'dlm_engine.bases' not in sys.modules\n"
        "from dlm_server.features.completion import Surroundings, complete\n"
        "text = '---\\nbase_model: \\n---\\n'\n"
        "assert complete(LiveDocument.open(text), 16, Surroundings()).items\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'huggingface_hub', 'lsprotocol'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
