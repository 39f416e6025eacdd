"""Who hears of tasks: event streams, waiting clients, webhooks."""
