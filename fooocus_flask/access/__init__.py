"""Who may ask: keys, their scopes, limits, and the tokens in picture URLs."""
