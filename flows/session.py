"""placeholder while up is being brought up"""

from prefect import flow


@flow(name="preprocess-session")
def preprocess_session(session: str, force: bool = False, tasks: list[str] | None = None) -> None:
    """Preprocess."""
