import argparse

parser = argparse.ArgumentParser()
for flag in ("--disable-image-log", "--disable-metadata", "--always-low-vram", "--unet-in-fp8-e4m3fn"):
    parser.add_argument(flag, action="store_true")
parser.add_argument("--temp-path")
parser.add_argument("--always-cpu", type=int, nargs="?", const=-1)
args = parser.parse_args()
