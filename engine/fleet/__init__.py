"""The fleet: cards of many machines; Ray places, watches and restarts them. The driver: `python -m engine.fleet FD`."""
