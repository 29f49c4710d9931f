"""Django's configuration of this app."""

from django.apps import AppConfig


class DataConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.data"
    verbose_name = "Data"

    def ready(self) -> None:
        """Keep protected datasets as they are."""
        from ranvier.database.data import guarding  # noqa: F401
