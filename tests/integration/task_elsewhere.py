"""A task for a Python environment that has nothing but Ranvier without its dependencies."""

import sys

from ranvier import Input, Output, task


@task(version="1.0.0", inputs=[Input("raw.times.npy")], outputs=[Output("alf/where.txt", register=False)], python="other")
def elsewhere(job):
    """Says which interpreter it runs in."""
    job.save("alf/where.txt", sys.prefix)
