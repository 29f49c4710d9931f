"""Django's configuration of this app."""

from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.experiments"
    verbose_name = "Experiments"
