"""Ranvier's built-in flows; installed and imported as ranvier.flows only."""

if __name__ != "ranvier.flows":
    raise ImportError(
        f"this folder is the package ranvier.flows, but it was imported as {__name__!r}, which would make a second copy of every "
        "flows; import ranvier.flows instead (and do not put the repository's root on sys.path)"
    )
