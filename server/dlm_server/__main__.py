"""`python -m dlm_server`, where the script is not on the path."""

from dlm_server.main import main

raise SystemExit(main())
