"""Signing in with the request itself, for programs that download files."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser
from django.core.cache import cache
from django.utils.crypto import salted_hmac
from rest_framework.authentication import BasicAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.request import Request

#: Seconds for which a password that was right need not be hashed again; a download of thirty files would pay for it thirty times.
REMEMBERED_S = 300


class BasicOrToken(BasicAuthentication):
    """HTTP basic authentication, with the password or with the user's token in the password's place."""

    www_authenticate_realm = "ranvier"

    def authenticate_credentials(self, userid: str, password: str, request: Request | None = None) -> tuple[AbstractBaseUser, Token | None]:
        """The user, for the user's token or password."""
        token = Token.objects.select_related("user").filter(key=password, user__username=userid, user__is_active=True).first()
        if token:
            return token.user, token
        return self._by_password(userid, password, request), None

    def _by_password(self, userid: str, password: str, request: Request | None) -> AbstractBaseUser:
        from ranvier.database.people.models import User

        known = User.objects.filter(username=userid, is_active=True).first()
        # The key holds the stored hash, so that a changed password is not remembered.
        key = salted_hmac("basic", f"{known.password if known else ''}\n{password}", algorithm="sha256").hexdigest()
        if known and cache.get(key):
            return known
        user, _ = super().authenticate_credentials(userid, password, request)
        cache.set(key, True, REMEMBERED_S)
        return user
