"""Every address of the database."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import include, path
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.renderers import JSONRenderer
from rest_framework.routers import SimpleRouter

from ranvier.database.actions.views import ProcedureTypeViewSet, SessionViewSet, session_page
from ranvier.database.data import views as data
from ranvier.database.data.files import DataFile, Figure
from ranvier.database.data.register_file import CheckProtected, RegisterFile
from ranvier.database.experiments.views import ProbeInsertionViewSet
from ranvier.database.jobs import views as jobs
from ranvier.database.people import views as people
from ranvier.database.rest.schema import schema
from ranvier.database.subjects.views import SubjectViewSet

ENDPOINTS = {
    "users": people.UserViewSet,
    "labs": people.LabViewSet,
    "locations": people.LabLocationViewSet,
    "projects": people.ProjectViewSet,
    "subjects": SubjectViewSet,
    "procedures": ProcedureTypeViewSet,
    "sessions": SessionViewSet,
    "insertions": ProbeInsertionViewSet,
    "data-repository": data.DataRepositoryViewSet,
    "data-formats": data.DataFormatViewSet,
    "dataset-types": data.DatasetTypeViewSet,
    "datasets": data.DatasetViewSet,
    "files": data.FileRecordViewSet,
    "revisions": data.RevisionViewSet,
    "tags": data.TagViewSet,
    "tasks": jobs.TaskViewSet,
    "attempts": jobs.AttemptViewSet,
    "events": jobs.EventViewSet,
}
router = SimpleRouter(trailing_slash=False)
for name, viewset in ENDPOINTS.items():
    router.register(name, viewset, basename=name)


def health(request: HttpRequest) -> JsonResponse:
    """``GET /health``: it answers."""
    return JsonResponse({"status": "ok"})


def home(request: HttpRequest) -> HttpResponse:
    """The front door leads to the admin."""
    return redirect("admin:index")


urlpatterns = [
    path("", home),
    path("health", health),
    path("admin/", admin.site.urls),
    path("session/<uuid:pk>", session_page, name="session-page"),
    path("api/schema", schema),
    path("auth-token", ObtainAuthToken.as_view(renderer_classes=[JSONRenderer])),
    path("me", people.Me.as_view()),
    path("register-file", RegisterFile.as_view()),
    path("check-protected", CheckProtected.as_view()),
    path("plans", jobs.Plans.as_view()),
    path("expired-leases", jobs.ExpiredLeases.as_view()),
    path("data/<path:path>", DataFile.as_view()),
    path("figures/<uuid:pk>/<path:path>", Figure.as_view(), name="figure"),
    path("", include(router.urls)),
]
handler400 = "ranvier.database.rest.errors.bad_request"
handler404 = "ranvier.database.rest.errors.not_found"
handler500 = "ranvier.database.rest.errors.server_error"
