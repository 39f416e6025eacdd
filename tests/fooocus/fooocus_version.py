version = "2.5.5 (stand-in)"
