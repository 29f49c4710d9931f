"""``/data`` and ``/figures``: the files themselves, for ONE and for browsers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from one.alf.path import remove_uuid_string
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from ranvier.database.actions.models import Session
from ranvier.database.data.models import FileRecord
from ranvier.database.rest.access import access_of
from ranvier.database.rest.authentication import BasicOrToken, TokenOfEither
from ranvier.database.rest.reading import visible

UUID_PART = re.compile(r"\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[^./]+$")
BLOCK = 1 << 20
RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class FileView(APIView):
    """A file for whoever signed in: by password or token, with basic authentication or a Token header, or in the admin."""

    authentication_classes = [BasicOrToken, TokenOfEither, SessionAuthentication]
    schema = None


class DataFile(FileView):
    """A copy of a dataset, at its `data_url`."""

    def get(self, request: Request, path: str) -> HttpResponse:
        """``GET /data/<lab>/Subjects/<relative path with the dataset's UUID before the extension>``."""
        match = UUID_PART.search(path)
        if match is None:
            raise NotFound("the file name has no UUID; use the data_url that GET /datasets gives")
        relative = remove_uuid_string(path).as_posix()
        seen = visible(FileRecord.objects.all(), access_of(request))
        copies = seen.filter(dataset=match[1], exists=True).select_related("data_repository")
        copy = next((copy for copy in copies if _address(copy) == relative), None)
        if copy is None:
            raise NotFound(f"{relative} is no copy of dataset {match[1]}; use the data_url that GET /datasets/{match[1]} gives")
        return send(request, _folder(copy), copy.relative_path)


class Figure(FileView):
    """A figure of a session."""

    def get(self, request: Request, pk: uuid.UUID, path: str) -> HttpResponse:
        """``GET /figures/<eid>/<path>``: a PNG below the session's folder ``figures``."""
        session = get_object_or_404(visible(Session.objects.select_related("subject"), access_of(request)), pk=pk)
        if not path.endswith(".png"):
            raise NotFound("figures are PNG files")
        return send(request, settings.RANVIER.lab_root / session.path / "figures", path)


def _address(copy: FileRecord) -> str:
    return urlsplit(copy.data_repository.data_url).path.split("/data/", 1)[-1] + copy.relative_path


def _folder(copy: FileRecord) -> Path:
    """Folder of the copy's repository, where it is one of this machine's."""
    if copy.data_repository.name != settings.RANVIER.repository:
        raise NotFound(f"repository {copy.data_repository.name} is not on this machine; its data_url says where it is served")
    return settings.RANVIER.lab_root


def send(request: Request, folder: Path, relative: str) -> HttpResponse | FileResponse | StreamingHttpResponse:
    """The file, or the piece of it that the request asks for; it must be inside the folder, links included."""
    path = _inside(folder, relative)
    if path is None:
        raise NotFound(f"{relative[:200]} is not in its folder; has it been moved, or not arrived yet?")
    piece = RANGE.fullmatch(request.headers.get("Range", ""))
    response = _piece(path, int(piece[1]), piece[2]) if piece else FileResponse(path.open("rb"))
    response["Accept-Ranges"] = "bytes"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"  # a page among the data is a file, and no page of ours
    return response


def _inside(folder: Path, relative: str) -> Path | None:
    """The file, where it is one and is inside the folder."""
    try:
        path = (folder / relative).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError):  # a name that is too long for the file system, or that no file can have
        return None


def _piece(path: Path, first: int, last: str) -> HttpResponse | StreamingHttpResponse:
    size = path.stat().st_size
    end = min(int(last), size - 1) if last else size - 1
    if first > end:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    return StreamingHttpResponse(
        _read(path, first, end + 1 - first),
        status=206,
        content_type="application/octet-stream",
        headers={"Content-Range": f"bytes {first}-{end}/{size}", "Content-Length": str(end + 1 - first)},
    )


def _read(path: Path, first: int, count: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(first)
        while count and (block := file.read(min(count, BLOCK))):
            count -= len(block)
            yield block
