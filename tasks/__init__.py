"""Ranvier's built-in tasks; installed and imported as ranvier.tasks only."""

if __name__ != "ranvier.tasks":
    raise ImportError(
        f"this folder is the package ranvier.tasks, but it was imported as {__name__!r}, which would make a second copy of every "
        "tasks; import ranvier.tasks instead (and do not put the repository's root on sys.path)"
    )
