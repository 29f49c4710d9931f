"""The pipeline on a plain Alyx: a lab's own database that has none of Ranvier's endpoints."""

from ranvier.plain_alyx.database import PlainAlyx

__all__ = ["PlainAlyx"]
