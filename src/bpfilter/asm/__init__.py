"""Instructions as values: built, resolved, encoded, listed, checked, interpreted; no kernel."""
