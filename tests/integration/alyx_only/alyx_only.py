"""Ranvier's database, narrowed to what a real Alyx has: ``gunicorn alyx_only:application``.

Beside this file is the OpenAPI document of Alyx 3.6.1, without its prose. What is not in it is answered with 404 or 405; a query parameter
or a field that is not in it is refused, where Alyx would ignore it in silence; so are null where a field takes none, and texts and
numbers that are too long; fields that are not in it are taken out of the answers. Any status may follow any other, as in Alyx.

Refusals are also written to the file that ``ALYX_ONLY_REFUSALS`` names, so that a test can see that there were none.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ranvier.database.wsgi import application as ranvier_database

DOCUMENT = Path(__file__).with_name("openapi.json").read_bytes()
#: What Alyx's document says in its prose only.
UNDESCRIBED = {
    "/register-file": "created_by path filenames name hostname labs projects hashes filesizes versions qc server_only default exists"
    " check_protected content_type object_id",
    "/check-protected": "created_by path filenames name hostname labs projects",
}
Json = dict[str, Any]


class Refusal(Exception):
    """What Alyx would not take, or would ignore."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class AlyxOnly:
    """A WSGI application that lets through what a document describes.

    Parameters
    ----------
    application
        The application behind it.
    document
        The OpenAPI document.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], document: Json) -> None:
        self.application = application
        self.schemas = document["components"]["schemas"]
        self.paths = {_pattern(path): (path, item) for path, item in document["paths"].items()}

    def __call__(self, environ: Json, start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            path, operation = self._operation(environ)
            if path == "/api/schema":
                return _answer(start_response, "200 OK", DOCUMENT)
            body = self._body(environ)
            self._check(environ, path, operation, body)
        except Refusal as refusal:
            _write_down(environ, refusal)
            code = int(refusal.status.split()[0])
            return _answer(start_response, refusal.status, json.dumps({"status_code": code, "detail": str(refusal)}).encode())
        return self._pass_on(environ, start_response, operation)

    def _operation(self, environ: Json) -> tuple[str, Json]:
        found = next((each for pattern, each in self.paths.items() if pattern.fullmatch(environ["PATH_INFO"])), None)
        if found is None:
            raise Refusal("404 Not Found", "Alyx has no such endpoint")
        path, item = found
        if (operation := item.get(environ["REQUEST_METHOD"].lower())) is None:
            raise Refusal("405 Method Not Allowed", "Alyx does not take this method")
        return path, operation

    def _body(self, environ: Json) -> Any:
        """The request's body, which stays readable for the application."""
        content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(content)
        return json.loads(content) if content and "json" in environ.get("CONTENT_TYPE", "") else {}

    def _check(self, environ: Json, path: str, operation: Json, body: Json) -> None:
        known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        if unknown := {name for name, _ in parse_qsl(environ.get("QUERY_STRING", ""))} - known:
            raise Refusal("400 Bad Request", f"Alyx knows no query parameter {', '.join(sorted(unknown))}")
        if path == "/tasks" and environ["REQUEST_METHOD"] == "POST" and "status" not in body:
            raise Refusal("500 Internal Server Error", "10")  # the status that Alyx then stores has no label
        if words := UNDESCRIBED.get(path):
            fields: Json = {name: {"nullable": False} for name in words.split()}
        else:
            reference = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            fields = self._properties(reference)
        for name, value in body.items():
            if problem := _problem(fields.get(name), value):
                raise Refusal("400 Bad Request", f"{name}: {problem}")

    def _properties(self, schema: Json) -> Json:
        return self.schemas[schema["$ref"].rpartition("/")[2]].get("properties", {}) if "$ref" in schema else {}

    def _pass_on(self, environ: Json, start_response: Callable[..., Any], operation: Json) -> Iterable[bytes]:
        began: list[Any] = []
        content = b"".join(self.application(environ, lambda *arguments: began.append(arguments)))
        status, headers, *_ = began[0]
        reference = operation["responses"].get(status.split()[0], {}).get("content", {}).get("application/json", {}).get("schema", {})
        if content and "$ref" in reference:
            content = json.dumps(self._narrowed(json.loads(content), reference)).encode()
        others = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*others, ("Content-Length", str(len(content)))])
        return [content]

    def _narrowed(self, value: Any, schema: Json) -> Any:
        """A value without the fields that the schema does not have."""
        schema = schema["allOf"][0] if "allOf" in schema else schema
        if isinstance(value, list):
            return [self._narrowed(item, schema.get("items", {})) for item in value]
        if isinstance(value, dict) and "$ref" in schema:
            fields = self._properties(schema)
            return {name: self._narrowed(item, fields[name]) for name, item in value.items() if name in fields}
        return value


def _pattern(path: str) -> re.Pattern[str]:
    """What fits a path; an upload's has folders in it, which the document does not say."""
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", path.replace("{img_url}", ".+")) + "/?")


def _problem(field: Json | None, value: Any) -> str:
    if field is None:
        return "Alyx has no such field"
    if field.get("readOnly"):
        return "it is read-only"
    if value is None:
        return "" if field.get("nullable") else "it may not be null"
    if isinstance(value, str) and len(value) > field.get("maxLength", len(value)):
        return f"longer than {field['maxLength']} characters"
    if isinstance(value, int | float) and not field.get("minimum", value) <= value <= field.get("maximum", value):
        return f"not from {field['minimum']} to {field['maximum']}"
    return ""


def _write_down(environ: Json, refusal: Refusal) -> None:
    if path := os.environ.get("ALYX_ONLY_REFUSALS"):
        with Path(path).open("a") as file:
            file.write(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}: {refusal}\n")


def _answer(start_response: Callable[..., Any], status: str, content: bytes) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [content]


def _let_any_status_follow_any_other() -> None:
    from ranvier.database.jobs.serializers import TaskSerializer

    del TaskSerializer.validate_status


_let_any_status_follow_any_other()
application = AlyxOnly(ranvier_database, json.loads(DOCUMENT))
