"""How users, labs, projects and places look in REST."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from rest_framework import serializers

from ranvier.database.data.models import DataRepository
from ranvier.database.people.clock import known_zone
from ranvier.database.people.models import AccessToken, Lab, LabLocation, LabServer, Project, User, word
from ranvier.database.people.servers import token_of
from ranvier.database.rest.access import labs_of, require
from ranvier.database.rest.fields import Named
from ranvier.database.rest.rules import Area
from ranvier.database.rest.serializers import NamedSerializer, RecordSerializer, RequestSerializer


class UserSerializer(RecordSerializer):
    """A user, as anyone who signed in may see it."""

    subjects_responsible = serializers.SlugRelatedField("nickname", many=True, read_only=True)
    allowed_users = Named("username", many=True, required=False, queryset=User.objects.all())
    lab = serializers.SerializerMethodField()

    class Meta(RecordSerializer.Meta):
        model = User
        fields = ("id", "username", "email", "subjects_responsible", "lab", "allowed_users", "is_stock_manager")

    def get_lab(self, user: User) -> list[str]:
        """Names of the labs that the user is a member of."""
        return [membership.lab.name for membership in user.memberships.all()]


class LabSerializer(NamedSerializer):
    """A lab."""

    repositories = Named(many=True, required=False, queryset=DataRepository.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Lab
        fields = ("name", "institution", "address", "timezone", "repositories", "reference_weight_pct", "zscore_weight_pct", "json")

    def validate_repositories(self, repositories: list[DataRepository]) -> list[DataRepository]:
        """A lab takes a repository of other labs with these only, who could not change it alone any more."""
        known = set(self.instance.repositories.all()) if self.instance else set()
        for repository in set(repositories) - known:
            require(Area.LAB, labs_of(repository))
        return repositories


class LabServerSerializer(RecordSerializer):
    """A lab's server, as anyone who signed in may see it; what it says of itself may be changed."""

    lab = Named(read_only=True)
    timezone = serializers.CharField(source="lab.timezone", read_only=True)
    username = serializers.CharField(source="user.username", read_only=True)
    repository = Named(read_only=True)
    data_url = serializers.CharField(source="repository.data_url", read_only=True)

    class Meta(RecordSerializer.Meta):
        model = LabServer
        fields: tuple[str, ...] = ("lab", "timezone", "username", "repository", "data_url", "machine", "version", "cluster", "last_seen")
        read_only_fields = ("last_seen",)


class NewLabServerSerializer(RequestSerializer):
    """What is asked for when a lab is to have a server."""

    lab = serializers.CharField(max_length=120, validators=[word])
    repository = serializers.CharField(required=False, max_length=255)
    timezone = serializers.CharField(required=False, max_length=64, validators=[known_zone])
    # not a URLField, which knows no machine by a name without dots
    data_url = serializers.RegexField(r"^https?://\S+/Subjects/$", required=False)


class JoiningSerializer(LabServerSerializer):
    """All that a lab's server needs to know to begin; for itself and for staff only."""

    token = serializers.SerializerMethodField()
    prefect_api_url = serializers.SerializerMethodField()
    prefect_auth = serializers.SerializerMethodField()

    class Meta(LabServerSerializer.Meta):
        fields = (*LabServerSerializer.Meta.fields, "token", "prefect_api_url", "prefect_auth")

    def get_token(self, server: LabServer) -> str:
        """With which its services sign in."""
        return token_of(server)

    def get_prefect_api_url(self, server: LabServer) -> str:
        """Where Prefect is."""
        return str(django_settings.RANVIER.prefect_api_url)

    def get_prefect_auth(self, server: LabServer) -> str:
        """``user:password`` for Prefect, empty where it asks for none."""
        return str(django_settings.RANVIER.prefect_auth)


class LabLocationSerializer(NamedSerializer):
    """A rig or a room."""

    lab = Named(required=False, allow_null=True, queryset=Lab.objects.all())

    class Meta(RecordSerializer.Meta):
        model = LabLocation
        fields = ("name", "lab", "json")


class ProjectSerializer(NamedSerializer):
    """A project."""

    users = Named("username", many=True, required=False, queryset=User.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Project
        fields = ("name", "description", "users", "public")


class TokenSerializer(RecordSerializer):
    """A token with a name, without what it reads."""

    user = Named("username", required=False, queryset=User.objects.all())
    lab = Named(required=False, allow_null=True, queryset=Lab.objects.all())

    class Meta(RecordSerializer.Meta):
        model = AccessToken
        fields: tuple[str, ...] = ("id", "user", "name", "scope", "lab", "created", "expires", "last_used")
        read_only_fields = ("created", "last_used")

    def validate(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A token for one lab names it."""
        if asked.get("scope") == AccessToken.Scope.LAB and not asked.get("lab"):
            raise serializers.ValidationError({"lab": ["a token with the scope lab is for one lab: name it"]})
        return asked


class NewTokenSerializer(TokenSerializer):
    """A token as it is told once, when it is made."""

    token = serializers.CharField(read_only=True)

    class Meta(TokenSerializer.Meta):
        fields = (*TokenSerializer.Meta.fields, "token")


class MeSerializer(serializers.Serializer):
    """Who signed in."""

    username = serializers.CharField()
    id = serializers.UUIDField()
    is_staff = serializers.BooleanField()
    is_public_user = serializers.BooleanField()
