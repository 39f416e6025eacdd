patch_settings = {}
