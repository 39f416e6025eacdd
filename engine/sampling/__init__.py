"""From noise to latents: schedules, samplers, noise, guidance."""
