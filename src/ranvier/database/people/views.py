"""Endpoints of users, labs, projects and places."""

from __future__ import annotations

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.people import serializers
from ranvier.database.people.models import Lab, LabLocation, Project, User
from ranvier.database.rest.filters import AnyOf, RecordFilter
from ranvier.database.rest.permissions import StaffWrites
from ranvier.database.rest.viewsets import NamedViewSet, RecordViewSet


class Me(APIView):
    """Who the token belongs to."""

    @extend_schema(responses=serializers.MeSerializer, operation_id="me_list")
    def get(self, request: Request) -> Response:
        """``GET /me``."""
        return Response(serializers.MeSerializer(request.user).data)


class UserFilter(RecordFilter):
    """Filters of users."""

    class Meta:
        model = User
        fields = ("id", "username", "is_active", "is_staff", "is_stock_manager", "is_public_user")


class UserViewSet(RecordViewSet):
    """Users; only staff may change them."""

    queryset = User.objects.prefetch_related("subjects_responsible", "allowed_users", "memberships__lab")
    serializer_class = serializers.UserSerializer
    permission_classes = [StaffWrites]
    filterset_class = UserFilter
    lookup_field = "username"


class LabFilter(RecordFilter):
    """Filters of labs."""

    repositories = AnyOf("repositories__name", distinct=True)

    class Meta:
        model = Lab
        fields = ("id", "name", "institution", "timezone")


class LabViewSet(NamedViewSet):
    """Labs."""

    queryset = Lab.objects.prefetch_related("repositories")
    serializer_class = serializers.LabSerializer
    filterset_class = LabFilter


class LocationFilter(RecordFilter):
    """Filters of locations."""

    lab = django_filters.CharFilter("lab__name", "iexact")

    class Meta:
        model = LabLocation
        fields = ("name",)


class LabLocationViewSet(NamedViewSet):
    """Rigs and rooms."""

    queryset = LabLocation.objects.select_related("lab")
    serializer_class = serializers.LabLocationSerializer
    filterset_class = LocationFilter


class ProjectViewSet(NamedViewSet):
    """Projects."""

    queryset = Project.objects.prefetch_related("users")
    serializer_class = serializers.ProjectSerializer
