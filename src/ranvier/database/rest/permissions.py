"""Who may do what through REST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission

if TYPE_CHECKING:  # rest_framework.views itself imports this module
    from rest_framework.request import Request
    from rest_framework.views import APIView


class SignedIn(BasePermission):
    """Anyone who signed in may read; a public user may only read."""

    message = "a public user may only read; ask the lab for an account of your own"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on."""
        user = request.user
        return bool(user and user.is_authenticated) and (request.method in SAFE_METHODS or not user.is_public_user)


class StaffWrites(SignedIn):
    """Anyone who signed in may read; only staff may write."""

    message = "only staff may change accounts; ask an administrator, or use the admin pages"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on."""
        return super().has_permission(request, view) and (request.method in SAFE_METHODS or request.user.is_staff)
