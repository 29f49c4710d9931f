"""How users, labs, projects and places look in REST."""

from __future__ import annotations

from rest_framework import serializers

from ranvier.database.data.models import DataRepository
from ranvier.database.people.models import Lab, LabLocation, Project, User
from ranvier.database.rest.fields import Named
from ranvier.database.rest.serializers import RecordSerializer


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


class LabSerializer(RecordSerializer):
    """A lab."""

    repositories = Named(many=True, required=False, queryset=DataRepository.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Lab
        fields = ("name", "institution", "address", "timezone", "repositories", "reference_weight_pct", "zscore_weight_pct", "json")


class LabLocationSerializer(RecordSerializer):
    """A rig or a room."""

    lab = Named(required=False, allow_null=True, queryset=Lab.objects.all())

    class Meta(RecordSerializer.Meta):
        model = LabLocation
        fields = ("name", "lab", "json")


class ProjectSerializer(RecordSerializer):
    """A project."""

    users = Named("username", many=True, required=False, queryset=User.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Project
        fields = ("name", "description", "users")


class MeSerializer(serializers.Serializer):
    """Who signed in."""

    username = serializers.CharField()
    id = serializers.UUIDField()
    is_staff = serializers.BooleanField()
    is_public_user = serializers.BooleanField()
