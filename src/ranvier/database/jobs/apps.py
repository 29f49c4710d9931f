"""Django's configuration of this app."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Listen for new sessions."""
        from ranvier.database.jobs import signals  # noqa: F401
