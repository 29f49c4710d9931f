"""Django's configuration of the admin pages; in a file of its own, as an app's file may have one configuration."""

from django.contrib.admin.apps import AdminConfig


class RanvierAdmin(AdminConfig):
    """The admin pages, by role."""

    default_site = "ranvier.database.rest.admin_site.RanvierSite"
