"""Django's configuration of this app."""

from django.apps import AppConfig


class ActionsConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.actions"
    verbose_name = "Sessions and other actions"

    def ready(self) -> None:
        """Listen for notes that lose their image."""
        from ranvier.database.actions import images  # noqa: F401
