"""Every address of the database."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import include, path
from django.views.generic import RedirectView
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.parsers import FormParser
from rest_framework.renderers import JSONRenderer
from rest_framework.routers import SimpleRouter

from ranvier.database.actions import notebook_views as notebook
from ranvier.database.actions.views import ProcedureTypeViewSet, SessionViewSet, session_page
from ranvier.database.data import views as data
from ranvier.database.data.cache_views import CacheArchive, CacheInfo
from ranvier.database.data.file_status import SyncFileStatus
from ranvier.database.data.files import DataFile, Figure
from ranvier.database.data.notices import DataNoticeViewSet, DownloadViewSet, NewDownload
from ranvier.database.data.register_file import CheckProtected, RegisterFile
from ranvier.database.experiments import views as experiments
from ranvier.database.jobs import views as jobs
from ranvier.database.people import views as people
from ranvier.database.reruns import views as reruns
from ranvier.database.rest.history_views import History
from ranvier.database.rest.parsers import StorableJSONParser
from ranvier.database.rest.schema import schema
from ranvier.database.subjects import colony_views as colony
from ranvier.database.subjects.views import SubjectViewSet, WaterRequirement, WaterRestrictedSubjects

ENDPOINTS = {
    "tokens": people.TokenViewSet,
    "users": people.UserViewSet,
    "labs": people.LabViewSet,
    "lab-servers": people.LabServerViewSet,
    "locations": people.LabLocationViewSet,
    "projects": people.ProjectViewSet,
    "subjects": SubjectViewSet,
    "species": colony.SpeciesViewSet,
    "strains": colony.StrainViewSet,
    "sources": colony.SourceViewSet,
    "lines": colony.LineViewSet,
    "alleles": colony.AlleleViewSet,
    "sequences": colony.SequenceViewSet,
    "zygosity-rules": colony.ZygosityRuleViewSet,
    "genotype-tests": colony.GenotypeTestViewSet,
    "breeding-pairs": colony.BreedingPairViewSet,
    "litters": colony.LitterViewSet,
    "subject-requests": colony.SubjectRequestViewSet,
    "cages": colony.CageViewSet,
    "cage-stays": colony.CageStayViewSet,
    "humane-end-points": colony.HumaneEndPointViewSet,
    "growth-references": colony.GrowthReferenceViewSet,
    "weighings": notebook.WeighingViewSet,
    "water-type": notebook.WaterTypeViewSet,
    "water-administrations": notebook.WaterAdministrationViewSet,
    "water-restriction": notebook.WaterRestrictionViewSet,
    "water-restricted-subjects": WaterRestrictedSubjects,
    "surgeries": notebook.SurgeryViewSet,
    "virus-injections": notebook.VirusInjectionViewSet,
    "other-actions": notebook.OtherActionViewSet,
    "culls": notebook.CullViewSet,
    "notes": notebook.NoteViewSet,
    "procedures": ProcedureTypeViewSet,
    "sessions": SessionViewSet,
    "insertions": experiments.ProbeInsertionViewSet,
    "chronic-insertions": experiments.ChronicInsertionViewSet,
    "trajectories": experiments.TrajectoryEstimateViewSet,
    "channels": experiments.ChannelViewSet,
    "brain-regions": experiments.BrainRegionViewSet,
    "fields-of-view": experiments.FOVViewSet,
    "fov-location": experiments.FOVLocationViewSet,
    "imaging-stack": experiments.ImagingStackViewSet,
    "data-repository": data.DataRepositoryViewSet,
    "data-repository-type": data.DataRepositoryTypeViewSet,
    "data-formats": data.DataFormatViewSet,
    "dataset-types": data.DatasetTypeViewSet,
    "datasets": data.DatasetViewSet,
    "files": data.FileRecordViewSet,
    "revisions": data.RevisionViewSet,
    "tags": data.TagViewSet,
    "data-notices": DataNoticeViewSet,
    "downloads": DownloadViewSet,
    "tasks": jobs.TaskViewSet,
    "attempts": jobs.AttemptViewSet,
    "events": jobs.EventViewSet,
    "pauses": jobs.PauseViewSet,
    "reruns": reruns.RerunViewSet,
    "rerun-sessions": reruns.RerunSessionViewSet,
    "backfills": reruns.BackfillViewSet,
    "backfill-sessions": reruns.BackfillSessionViewSet,
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
    path("auth-token", ObtainAuthToken.as_view(renderer_classes=[JSONRenderer], parser_classes=[StorableJSONParser, FormParser])),
    path("me", people.Me.as_view()),
    path("water-requirement/<str:nickname>", WaterRequirement.as_view()),
    path("new-download", NewDownload.as_view()),
    path("uploaded/<path:path>", notebook.Uploaded.as_view()),
    path("sync-file-status", SyncFileStatus.as_view()),
    path("cache/info", CacheInfo.as_view()),
    path("cache/info/", RedirectView.as_view(url="/cache/info")),
    path("cache/info/<path:tag>", CacheInfo.as_view()),
    path("cache.zip", CacheArchive.as_view()),
    path("register-file", RegisterFile.as_view()),
    path("check-protected", CheckProtected.as_view()),
    path("history", History.as_view()),
    path("plans", jobs.Plans.as_view()),
    path("task-counts", jobs.TaskCounts.as_view()),
    path("cancellations", jobs.Cancellations.as_view()),
    path("expired-leases", jobs.ExpiredLeases.as_view()),
    path("failures", jobs.Failures.as_view()),
    path("data/<path:path>", DataFile.as_view()),
    path("figures/<uuid:pk>/<path:path>", Figure.as_view(), name="figure"),
    path("", include(router.urls)),
]
handler400 = "ranvier.database.rest.errors.bad_request"
handler404 = "ranvier.database.rest.errors.not_found"
handler500 = "ranvier.database.rest.errors.server_error"
