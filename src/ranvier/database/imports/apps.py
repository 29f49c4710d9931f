"""Django's configuration of this app."""

from django.apps import AppConfig


class ImportsConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.imports"
    verbose_name = "Imports"
