"""`python -m dlm_engine.worker`: takes the pipes before anything can print into them."""

from __future__ import annotations

import os
import sys

from dlm_engine.worker.wire import take_standard_streams


def main() -> int:
    """Serve on the standard streams until they close; returns the exit status."""
    incoming, outgoing = take_standard_streams()
    import logging

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    from dlm_engine.training import polite
    from dlm_engine.worker.main import Worker

    polite.prepare()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    return Worker(incoming, outgoing).run()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Threads of numerical libraries would hold up an ordinary exit.
    os._exit(status)
