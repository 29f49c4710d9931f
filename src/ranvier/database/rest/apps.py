"""Django's configuration of this app."""

from django.apps import AppConfig


class RestConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.rest"
    verbose_name = "Requests"
