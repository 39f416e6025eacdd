def init_cache(model_filenames, paths_checkpoints, lora_filenames, paths_loras):
    print("hashes for", len(model_filenames), "checkpoints", flush=True)
