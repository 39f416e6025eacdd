"""Checkpoints and the networks in them: UNet, VAE, text encoders, refiner, upscaler; loaded, kept, freed."""
