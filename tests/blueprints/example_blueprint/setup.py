"""A package that adds an endpoint to fooocus-flask: all it takes is the entry point."""

from setuptools import setup

setup(
    name="example-blueprint",
    version="1.0",
    packages=["example_blueprint"],
    entry_points={"fooocus_flask.blueprints": ["hello = example_blueprint:blueprint"]},
)
