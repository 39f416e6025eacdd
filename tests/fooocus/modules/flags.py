from enum import Enum


class Performance(Enum):
    QUALITY = "Quality"
    SPEED = "Speed"

    def steps(self):
        return 4 if self is Performance.QUALITY else 2


class MetadataScheme(Enum):
    FOOOCUS = "fooocus"
    A1111 = "a1111"


ip_list = ["ImagePrompt", "PyraCanny", "CPDS", "FaceSwap"]
