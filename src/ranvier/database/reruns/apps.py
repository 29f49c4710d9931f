"""Django's configuration of this app."""

from django.apps import AppConfig


class RerunsConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.reruns"
    verbose_name = "Reruns"
