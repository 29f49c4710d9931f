"""Admin pages of users, labs, projects and places."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from ranvier.database.people.models import Lab, LabLocation, LabMembership, LabServer, Project, User

admin.site.site_header = admin.site.site_title = "Ranvier"
admin.site.index_title = "The lab's database"


class MembershipInline(admin.TabularInline):
    """The labs of a user, or the users of a lab."""

    model = LabMembership
    extra = 0
    fields = ("user", "lab", "role", "start_date", "end_date")
    autocomplete_fields = ("user", "lab")


@admin.register(User)
class RanvierUserAdmin(UserAdmin):
    """Users."""

    list_display = ("username", "first_name", "last_name", "email", "is_active", "is_staff", "is_public_user", "last_login")
    list_filter = ("is_active", "is_staff", "is_public_user", "is_stock_manager", "memberships__lab")
    fieldsets = (*UserAdmin.fieldsets, ("Ranvier", {"fields": ("is_public_user", "is_stock_manager", "allowed_users")}))
    filter_horizontal = (*UserAdmin.filter_horizontal, "allowed_users")
    inlines = [MembershipInline]


@admin.register(Lab)
class LabAdmin(admin.ModelAdmin):
    """Labs."""

    list_display = ("name", "institution", "timezone")
    search_fields = ("name", "institution")
    filter_horizontal = ("repositories",)
    inlines = [MembershipInline]


@admin.register(LabServer)
class LabServerAdmin(admin.ModelAdmin):
    """Lab servers."""

    list_display = ("lab", "repository", "user", "machine", "version", "last_seen")
    readonly_fields = ("machine", "version", "cluster", "last_seen")
    autocomplete_fields = ("lab", "user")


@admin.register(LabLocation)
class LabLocationAdmin(admin.ModelAdmin):
    """Rigs and rooms."""

    list_display = ("name", "lab")
    list_filter = ("lab",)
    search_fields = ("name",)


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):
    """Projects."""

    list_display = ("name", "description")
    search_fields = ("name", "description")
    filter_horizontal = ("users",)
