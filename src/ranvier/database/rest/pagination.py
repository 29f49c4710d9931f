"""Pages as Alyx gives them."""

from __future__ import annotations

from rest_framework.pagination import LimitOffsetPagination


class Pages(LimitOffsetPagination):
    """``{count, next, previous, results}``: 250 rows unless asked otherwise, never more than 1000."""

    default_limit = 250
    max_limit = 1000
