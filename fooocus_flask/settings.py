"""Every setting with its default and its meaning.

Each can stand in `instance/config.py`, in the environment (`FOOOCUS_` before the name) or on the command line;
the later goes before the earlier.
"""

from __future__ import annotations

# --- who may ask, and how much

API_KEY = ""  # key that may do everything, in X-API-KEY or as a bearer token; see also `flask --app wsgi keys --help`
REQUESTS_PER_MINUTE = 0  # requests of one address that come without a key of the server's; 0: no limit
CORS_ORIGINS = "*"  # web pages that may call: *, or origins with commas between them
MAX_CONTENT_LENGTH = 256 * 1024 * 1024  # bytes of a request's body; more is 413
MAX_FORM_MEMORY_SIZE = 64 * 1024 * 1024  # bytes of a form's text members
MAX_PIXELS = 64 * 1024 * 1024  # of the largest picture that is made on the way to a result; 0: no limit
KEEPALIVE_SECONDS = (
    75.0  # after which a connection is closed on which no request, or nothing of a body, comes; 0: never
)
QUEUE_LIMIT = 1000  # tasks that may wait; more are refused with Retry-After; 0: no limit
HISTORY_LIMIT = 0  # ended tasks that are kept; the oldest beyond it are deleted with their pictures; 0: no limit
ALLOW_PRIVATE_ADDRESSES = False  # whether URLs of clients (pictures, webhooks) may lead into private networks
PRIORITY_SECONDS = 60.0  # seconds of waiting that one point of a task's priority stands for

# --- what is handed out

BASE_URL = ""  # start of the URLs handed out: a URL, host:port or a host; empty: as the client spoke to us
TRUSTED_HOSTS = ""  # hosts that requests may be for, with commas, a dot before one for all below it; empty: any
FILE_URL_TTL = 0  # seconds for which the URLs of pictures work, where there are keys; 0: for ever
LEGACY_PORT = 0  # second port to listen on, for clients of Fooocus-API that know no other than 8888; 0: none
BLUEPRINTS_OFF = ""  # groups of endpoints that are not served, with commas: names of modules of blueprints/
NOWEBUI = False  # whether the web page is left out, at /ui and on a port of its own
X_ACCEL_PREFIX = ""  # internal location of a proxy (nginx) that serves pictures from the disk; empty: none does
TRUSTED_PROXIES = 0  # how many proxies before this server set X-Forwarded-For, -Proto, -Host and -Prefix
WEBHOOK_URL = ""  # where ended tasks are sent whose request names no webhook
WEBHOOK_BODY = "object"  # object, or string for receivers that decode the JSON twice
WEBHOOK_TIMEOUT = 15.0  # seconds a webhook's receiver may take
WEBHOOK_DELAYS = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)  # seconds before each retry
WEBHOOK_SECRET = ""  # signs webhooks: whsec_ and base64; empty: made at the first start, in instance/webhook_secret
DISABLE_IMAGE_LOG = False  # whether the outputs folder is kept without a log.html a day
DISABLE_METADATA = False  # whether pictures are written without their parameters
OPENAI_MODEL_ALIASES: dict[str, str] = {}  # names that OpenAI's clients use, and the checkpoint or preset of each
PRESET = "initial"  # preset whose values become the defaults

# --- where things lie; relative paths start at the instance folder

OUTPUT_PATH = "outputs"  # results
INPUT_PATH = "inputs"  # pictures that clients sent
INPUT_RETENTION_DAYS = 0.0  # days after which those that no waiting task needs are deleted; 0: never
STORAGE_URL = ""  # s3://bucket/prefix in which pictures are kept, the folders holding copies; empty: the folders alone
STORAGE_SERVE = (
    "redirect"  # how clients get them: redirect to a signed URL of the bucket, or proxy: through this server
)
STORAGE_CACHE_BYTES = 2 * 1024**3  # of copies in the two folders; those not used for longest are deleted beyond it
STORAGE_PATIENCE = 300.0  # seconds for which a picture's upload is tried again before its task fails
S3_ENDPOINT_URL = ""  # of the server that has the bucket; empty: Amazon's
S3_PUBLIC_URL = ""  # the same as clients reach it, for signed URLs; empty: by S3_ENDPOINT_URL
S3_REGION = "us-east-1"  # of the bucket
S3_ADDRESSING = "auto"  # auto, path or virtual: whether the bucket stands in a URL's path or in its host
MODELS_PATH = "models"  # model files, laid out like Fooocus's models/
CONFIG_TXT = "config.txt"  # an existing Fooocus's config.txt, for its folders and defaults
SQLALCHEMY_DATABASE_URI = "sqlite:///db.sqlite3"  # the task history

# --- model files that are not there

ALLOW_DOWNLOADS = False  # whether those of a known address are fetched when a request needs them
HF_MIRROR = ""  # stands in for https://huggingface.co in their addresses
DOWNLOAD_DELAYS = (1.0, 2.0, 5.0, 15.0, 30.0)  # seconds before each further try at one of them

# --- the engine processes

PATH = ""  # folder of an existing Fooocus that draws in place of our engine: FOOOCUS_PATH; empty: ours draws
PYTHON = ""  # what runs it; empty: its own, in its venv or python_embeded, else the one on the PATH
ENGINES = "1"  # how many, each draws a task of its own: a number, or auto: one for each graphics card
FLEET = ""  # address of a Ray cluster (head:6379) all of whose cards draw, in place of engines here; empty: none
AFFINITY_SECONDS = 30.0  # seconds by which a task may go first to an engine that holds its checkpoint; 0: none does

BATCH_TASKS = 0  # queued tasks that are drawn as one batch, where they differ in words and seeds: at most 8; 0: none
PRELOAD = True  # whether an engine loads the default checkpoint when it starts, where its file is on this server
DEVICE = ""  # what draws, as torch names it: cuda (AMD's too), cuda:1, xpu, mps or cpu; empty: the accelerator there is
MEMORY_PLAN = ""  # turns, alone or streamed: the most that stays on the card; resident: all; empty: what has room
UNET_STORAGE = ""  # fp8_e4m3fn, fp8_e5m2, fp16, bf16 or fp32: what UNets are stored in; empty: as suits the device
VAE_FORMAT = ""  # fp16, bf16 or fp32: what VAEs compute in; cpu: fp32 on the processor; empty: as suits the device
TEXT_STORAGE = ""  # fp16 or fp32: what text encoders are stored in; empty: fp16
ATTENTION = ""  # pytorch: torch's own; split: half of the heads at a time; empty: torch's own
UNET_ARITHMETIC = ""  # fp8: UNets' linear layers multiply in 8 bits, on cards that can; empty: as suits the device
ENGINE_THREADS = 0  # threads each computes with; 0: all cores, divided among the engines
REBUILD_HASH_CACHE = 0  # threads that hash all checkpoints and LoRAs at the start; 0: hashed as they are needed
ENGINE_NICENESS = 5  # how far it steps back for the web process on a busy machine, 0 to 19
ENGINE_START_TIMEOUT = 300.0  # seconds it may take to import its libraries
ENGINE_SILENCE = 60.0  # seconds without a sign of life after which it is replaced
ENGINE_STEP_PATIENCE = 300.0  # seconds one step, tile, text or file may take; more, and it is stuck and replaced
ENGINE_LOAD_PATIENCE = 900.0  # seconds loading one model may take, from a slow disk
SHUTDOWN_DEADLINE = 30.0  # seconds the task under way has to end when the server is told to stop
ENGINE_ENVIRONMENT: dict[str, str] = {}  # variables it finds in its environment besides the server's

STANDBY = False  # whether a server waits for the end of another one on its database, in place of ending at once
LOG_LEVEL = "INFO"  # DEBUG, INFO, WARNING or ERROR
