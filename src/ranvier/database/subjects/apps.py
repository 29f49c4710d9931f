"""Django's configuration of this app."""

from django.apps import AppConfig


class SubjectsConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.subjects"
    verbose_name = "Subjects and colony"
