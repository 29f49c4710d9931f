"""How subjects look in REST."""

from __future__ import annotations

from rest_framework import serializers

from ranvier.database.people.models import Lab, Project, User
from ranvier.database.rest.fields import Named
from ranvier.database.rest.serializers import RecordSerializer
from ranvier.database.subjects.models import Line, Source, Species, Strain, Subject


class SubjectSerializer(RecordSerializer):
    """A subject."""

    url = serializers.HyperlinkedIdentityField("subjects-detail", lookup_field="nickname")
    lab = Named(queryset=Lab.objects.all())
    responsible_user = Named("username", required=False, allow_null=True, queryset=User.objects.all())
    projects = Named(many=True, required=False, queryset=Project.objects.all())
    session_projects = serializers.SerializerMethodField()
    species = Named(required=False, allow_null=True, queryset=Species.objects.all())
    strain = Named(required=False, allow_null=True, queryset=Strain.objects.all())
    source = Named(required=False, allow_null=True, queryset=Source.objects.all())
    line = Named(required=False, allow_null=True, queryset=Line.objects.all())
    age_weeks = serializers.IntegerField(read_only=True)
    alive = serializers.BooleanField(read_only=True)

    class Meta(RecordSerializer.Meta):
        model = Subject
        fields = (
            "nickname",
            "url",
            "id",
            "responsible_user",
            "birth_date",
            "age_weeks",
            "death_date",
            "species",
            "sex",
            "strain",
            "source",
            "line",
            "projects",
            "session_projects",
            "lab",
            "description",
            "alive",
            "json",
        )

    def get_session_projects(self, subject: Subject) -> list[str]:
        """Projects of the subject's sessions."""
        return sorted({project.name for session in subject.actions_sessions.all() for project in session.projects.all()})
