"""Signing in with the request itself, for programs that download files."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework.authentication import BasicAuthentication, TokenAuthentication
from rest_framework.authtoken.models import Token
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

#: Seconds for which a password that was right need not be hashed again; a download of thirty files would pay for it thirty times.
REMEMBERED_S = 300
#: How exactly it is known when a token was used last, for not every request should write.
USED = dt.timedelta(minutes=5)


class TokenOfEither(TokenAuthentication):
    """The one token that Alyx gives a user, or one of those that have names."""

    def authenticate_credentials(self, key: str) -> tuple[AbstractBaseUser, Any]:
        """The user, for a token."""
        found = named_token(key)
        return (found.user, found) if found else super().authenticate_credentials(key)


def named_token(key: str) -> Any:
    """The token with a name that a text is; None where the text looks like no such token.

    Raises
    ------
    AuthenticationFailed
        If it looks like one, and is unknown, revoked or past its end.
    """
    from ranvier.database.people.models import AccessToken

    if not key.startswith(AccessToken.PREFIX):
        return None
    now = timezone.now()
    known = AccessToken.objects.select_related("user").filter(hash=AccessToken.hash_of(key), user__is_active=True)
    token = known.filter(Q(expires=None) | Q(expires__gt=now)).first()
    if token is None:
        raise AuthenticationFailed("this token is unknown, revoked or has expired; make another with `ranvier tokens new` or POST /tokens")
    if token.last_used is None or token.last_used < now - USED:
        AccessToken.objects.filter(pk=token.pk).update(last_used=now)
    return token


class BasicOrToken(BasicAuthentication):
    """HTTP basic authentication, with the password or with the user's token in the password's place."""

    www_authenticate_realm = "ranvier"

    def authenticate_credentials(self, userid: str, password: str, request: Request | None = None) -> tuple[AbstractBaseUser, Any]:
        """The user, for one of the user's tokens or the password."""
        named = named_token(password)
        if named and named.user.get_username() == userid:
            return named.user, named
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
