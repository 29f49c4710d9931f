"""Django's configuration of this app."""

from django.apps import AppConfig


class RestConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.rest"
    verbose_name = "Requests"

    def ready(self) -> None:
        """Listen for what is written."""
        from ranvier.database.rest.history import listen

        listen()
