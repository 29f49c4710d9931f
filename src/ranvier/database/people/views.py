"""Endpoints of users, labs, projects and places."""

from __future__ import annotations

import django_filters
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from ranvier.database.people import serializers
from ranvier.database.people.models import AccessToken, Lab, LabLocation, LabServer, Project, User
from ranvier.database.people.servers import ensure_server, set_timezone
from ranvier.database.rest.access import Access, access_of, refusal
from ranvier.database.rest.filters import AnyOf, RecordFilter
from ranvier.database.rest.permissions import StaffWrites
from ranvier.database.rest.rules import Area
from ranvier.database.rest.viewsets import NamedViewSet, RecordViewSet
from ranvier.database.subjects.models import Subject


class Me(APIView):
    """Who the token belongs to."""

    @extend_schema(responses=serializers.MeSerializer, operation_id="me_list")
    def get(self, request: Request) -> Response:
        """``GET /me``."""
        return Response(serializers.MeSerializer(request.user).data)


class UserFilter(RecordFilter):
    """Filters of users; what would give away passwords and privileges is not among them."""

    allowed_users = AnyOf("allowed_users__username", distinct=True)

    class Meta:
        model = User
        fields = ("id", "username", "email", "first_name", "last_name", "is_active", "is_staff", "is_stock_manager", "is_public_user")


class UserViewSet(RecordViewSet):
    """Users; only staff may change them."""

    queryset = User.objects.prefetch_related("allowed_users", "memberships__lab")
    nested = {"subjects_responsible": Subject.objects.all()}
    serializer_class = serializers.UserSerializer
    permission_classes = [StaffWrites]
    filterset_class = UserFilter
    lookup_field = "username"


class LabFilter(RecordFilter):
    """Filters of labs."""

    repositories = AnyOf("repositories__name", distinct=True)

    class Meta:
        model = Lab
        fields = ("id", "name", "institution", "address", "timezone", "reference_weight_pct", "zscore_weight_pct", "cage_type",
                  "enrichment", "food", "light_cycle", "cage_cleaning_frequency_days")  # fmt: skip


class LabViewSet(NamedViewSet):
    """Labs."""

    queryset = Lab.objects.prefetch_related("repositories")
    serializer_class = serializers.LabSerializer
    filterset_class = LabFilter


class LabServerViewSet(mixins.ListModelMixin, viewsets.GenericViewSet):
    """Lab servers: made by staff, kept up to date by themselves."""

    queryset = LabServer.objects.select_related("lab", "user", "repository")
    serializer_class = serializers.LabServerSerializer
    lookup_field = "lab__name"
    lookup_url_kwarg = "name"
    lookup_value_regex = "[^/]+"

    @extend_schema(request=serializers.NewLabServerSerializer, responses={201: serializers.JoiningSerializer})
    def create(self, request: Request) -> Response:
        """``POST /lab-servers``: 201, or 200 where the lab has one, which takes another time zone or address of its data."""
        if not request.user.is_staff or access_of(request).by_named_token:
            raise PermissionDenied("only staff may add a lab; sign in as an administrator")
        form = serializers.NewLabServerSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        known = self.get_queryset().filter(lab__name=form.validated_data["lab"]).exists()
        server = ensure_server(**form.validated_data)
        if known and (zone := form.validated_data.get("timezone")):
            set_timezone(server, zone)
        return Response(serializers.JoiningSerializer(server).data, status.HTTP_200_OK if known else status.HTTP_201_CREATED)

    @extend_schema(responses=serializers.JoiningSerializer)
    def retrieve(self, request: Request, name: str) -> Response:
        """``GET /lab-servers/{lab}``: all that the server needs to know to begin."""
        return Response(serializers.JoiningSerializer(self._own(request)).data)

    def partial_update(self, request: Request, name: str) -> Response:
        """``PATCH /lab-servers/{lab}``: a sign of life."""
        form = self.get_serializer(self._own(request), data=request.data, partial=True)
        form.is_valid(raise_exception=True)
        form.save(last_seen=timezone.now())
        return Response(form.data)

    def _own(self, request: Request) -> LabServer:
        server = self.get_object()
        if access_of(request).by_named_token:
            raise PermissionDenied(
                "a token with a name does not get to know others; sign in with the password, or with the user's own token"
            )
        if not (request.user.is_staff or request.user == server.user):
            raise PermissionDenied(f"this is for {server.user.username}, the user of {server}, and for staff")
        return server


class TokenViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, viewsets.GenericViewSet):
    """Tokens with names: one's own; an admin of a lab sees and revokes those of its people, and staff all."""

    queryset = AccessToken.objects.select_related("user", "lab")
    serializer_class = serializers.TokenSerializer

    @extend_schema(responses={201: serializers.NewTokenSerializer})
    def create(self, request: Request) -> Response:
        """``POST /tokens``: make one; the answer is the only one that has the token itself."""
        access = self._whole(request)
        form = self.get_serializer(data=request.data)
        form.is_valid(raise_exception=True)
        asked = {"user": request.user, **form.validated_data}
        if asked["user"] != request.user and not request.user.is_staff:
            raise PermissionDenied("only staff may make a token for somebody else; leave user out")
        if asked.get("lab") and not access.works_in({asked["lab"].pk}) and not request.user.is_staff:
            raise refusal(access, Area.LAB)
        token, key = AccessToken.issue(**asked)
        return Response({**self.get_serializer(token).data, "token": key}, status.HTTP_201_CREATED)

    def perform_destroy(self, instance: AccessToken) -> None:
        """Revoke it; what comes with it from now on is refused."""
        self._whole(self.request)
        instance.delete()

    def _whole(self, request: Request) -> Access:
        """Who asks, unless by a token that stands for a part of its user and must not make a greater one."""
        access = access_of(request)
        if access.by_named_token:
            raise PermissionDenied(
                "a token with a name neither makes nor revokes others; sign in with the password or the user's own token"
            )
        return access


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
