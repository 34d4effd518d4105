from __future__ import annotations

import subprocess
import sys


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
