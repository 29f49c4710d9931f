"""The mapping that pyproject.toml cannot express: flows/ and tasks/ install as ranvier.flows and ranvier.tasks."""

from setuptools import find_packages, setup

mapped = [f"ranvier.{name}" for top in ("flows", "tasks") for name in find_packages(".", include=[top, f"{top}.*"])]
setup(
    packages=find_packages("src") + mapped,
    package_dir={"": "src", "ranvier.flows": "flows", "ranvier.tasks": "tasks"},
)
