"""Admin pages of users, labs, projects and places."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from ranvier.database.people.models import AccessToken, Lab, LabLocation, LabMembership, LabServer, Project, User
from ranvier.database.rest.admin_site import RoleAdmin

admin.site.site_header = admin.site.site_title = "Ranvier"
admin.site.index_title = "The lab's database"


class MembershipInline(admin.TabularInline):
    """The labs of a user, or the users of a lab."""

    model = LabMembership
    extra = 0
    fields = ("user", "lab", "role", "start_date", "end_date")
    autocomplete_fields = ("user", "lab")


@admin.register(User)
class RanvierUserAdmin(RoleAdmin, UserAdmin):
    """Users."""

    list_display = ("username", "first_name", "last_name", "email", "is_active", "is_staff", "is_public_user", "last_login")
    list_filter = ("is_active", "is_staff", "is_public_user", "is_stock_manager", "memberships__lab")
    fieldsets = (*UserAdmin.fieldsets, ("Ranvier", {"fields": ("is_public_user", "is_stock_manager", "allowed_users")}))
    filter_horizontal = (*UserAdmin.filter_horizontal, "allowed_users")
    inlines = [MembershipInline]


@admin.register(AccessToken)
class AccessTokenAdmin(RoleAdmin):
    """Tokens with names, to look at and to revoke; `ranvier tokens new` and ``POST /tokens`` make them."""

    list_display = ("name", "user", "scope", "lab", "created", "expires", "last_used")
    list_filter = ("scope", "lab")
    search_fields = ("name", "user__username")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A page cannot show a token once only."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessToken | None = None) -> bool:
        """What a token is for does not change."""
        return False


@admin.register(Lab)
class LabAdmin(RoleAdmin):
    """Labs."""

    list_display = ("name", "institution", "timezone")
    search_fields = ("name", "institution")
    filter_horizontal = ("repositories",)
    inlines = [MembershipInline]


@admin.register(LabServer)
class LabServerAdmin(RoleAdmin):
    """Lab servers."""

    list_display = ("lab", "repository", "user", "machine", "version", "last_seen")
    readonly_fields = ("machine", "version", "cluster", "last_seen")
    autocomplete_fields = ("lab", "user")


@admin.register(LabLocation)
class LabLocationAdmin(RoleAdmin):
    """Rigs and rooms."""

    list_display = ("name", "lab")
    list_filter = ("lab",)
    search_fields = ("name",)


@admin.register(Project)
class ProjectAdmin(RoleAdmin):
    """Projects."""

    list_display = ("name", "description")
    search_fields = ("name", "description")
    filter_horizontal = ("users",)
