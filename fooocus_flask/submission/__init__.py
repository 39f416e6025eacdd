"""From the wire to the engine's parameters: a request read, completed, checked and submitted."""
