from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dlm_engine.errors import UsageError
from dlm_engine.training import polite


def test_loading_what_trains_says_nothing_and_fetches_no_code() -> None:
    """In a process of its own: bitsandbytes complains, or fetches, once per import."""
    program = (
        "from dlm_engine.training import polite; polite.prepare()\n"
        "import importlib.util, sys, bitsandbytes, peft, transformers\n"
        "assert importlib.util.find_spec('kernels') is None\n"
        "assert sys.modules['kernels'] is None\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_thread_count_can_be_set_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLM_THREADS", " 2 ")
    assert polite.settle_in() == torch.get_num_threads() == 2
    assert polite.settle_in(1) == torch.get_num_threads() == 1
    monkeypatch.setenv("DLM_THREADS", "")
    assert polite.settle_in() == polite.usable_cores()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1025", "9" * 50, "²"])
def test_a_thread_count_that_is_none_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_THREADS", value)
    with pytest.raises(UsageError, match="DLM_THREADS"):
        polite.settle_in()
