"""`python -m dlm_engine` is `dlm`."""

from dlm_engine.cli.entry import main

raise SystemExit(main())
