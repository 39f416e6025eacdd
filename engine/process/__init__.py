"""The engine process: `python -m engine.process FD`."""
