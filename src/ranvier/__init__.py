"""Ranvier: from the rig to results that anyone allowed can search, load, look at and trust.

What a task author needs is here; it imports nothing but the standard library, so that a task can run in an environment of its own.
"""

from ranvier.declare import Input, Output, Resources, Task, task
from ranvier.job import Job
from ranvier.retries import Again, Retries

__all__ = ["Again", "Input", "Job", "Output", "Resources", "Retries", "Task", "task"]
__version__ = "0.1.0"
