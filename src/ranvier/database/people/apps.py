"""Django's configuration of this app."""

from django.apps import AppConfig


class PeopleConfig(AppConfig):
    """The app's name and title."""

    name = "ranvier.database.people"
    verbose_name = "People and labs"
