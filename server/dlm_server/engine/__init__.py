"""The server's side of the engine: a worker process and what it is asked, never its libraries."""
