"""Who may do what through REST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Model
from rest_framework.permissions import SAFE_METHODS, BasePermission

from ranvier.database.rest.rules import rule_of, table_of

if TYPE_CHECKING:  # rest_framework.views itself imports this module
    from rest_framework.request import Request
    from rest_framework.views import APIView

# `access` needs the models, which are not there yet when the settings name this module.


class SignedIn(BasePermission):
    """Anyone who signed in may read what they see; writing is by role, in the labs that the row belongs to."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on."""
        from ranvier.database.rest.access import access_of, refusal

        if not (request.user and request.user.is_authenticated):
            return False
        access, area = access_of(request), rule_of(table_of(type(view))).area
        if request.method not in SAFE_METHODS and not access.may(area):
            raise refusal(access, area)
        return True

    def has_object_permission(self, request: Request, view: APIView, row: Model) -> bool:
        """Whether a row may be changed as the request asks."""
        from ranvier.database.rest.access import access_of, refusal

        access = access_of(request)
        if request.method not in SAFE_METHODS and access.is_bounded and not access.may_touch(row):
            raise refusal(access, rule_of(row).area)
        return True


class StaffWrites(SignedIn):
    """Anyone who signed in may read; only staff may write, and not with a token that stands for a part of them."""

    message = "only staff may change accounts; ask an administrator, or use the admin pages"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on."""
        from ranvier.database.rest.access import access_of

        if not super().has_permission(request, view):
            return False
        return request.method in SAFE_METHODS or (request.user.is_staff and not access_of(request).by_named_token)
