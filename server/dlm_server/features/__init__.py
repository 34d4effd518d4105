"""What the server knows about documents: pure functions that know nothing of the protocol."""
