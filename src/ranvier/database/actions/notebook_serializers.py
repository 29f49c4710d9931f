"""How surgeries, culls and notes look in REST."""

from __future__ import annotations

import io
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from PIL import Image
from rest_framework import serializers

from ranvier.database.actions.models import Cull, CullMethod, CullReason, Note, OtherAction, Surgery, VirusInjection
from ranvier.database.people.models import Lab, User
from ranvier.database.rest.access import labs_of, require
from ranvier.database.rest.fields import Key, Named
from ranvier.database.rest.lookups import APPS
from ranvier.database.rest.reading import seen
from ranvier.database.rest.rules import Area
from ranvier.database.rest.serializers import RecordSerializer
from ranvier.database.subjects.models import HumaneEndPoint, Subject

#: Pixels that an image is wide, unless the request says otherwise; its height follows.
WIDTH = 800
#: Pixels that the widest image may have, and bytes of the largest.
MAX_WIDTH, MAX_BYTES = 10_000, 20_000_000
#: Kinds of images that browsers show.
KINDS = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "WEBP": ".webp"}

_ACTION = ("id", "subject", "name", "json", "narrative", "start_time", "end_time", "lab", "location", "users", "procedures")


class ActionSerializer(RecordSerializer):
    """Base of what is done with an animal; where nothing else is said, in its lab and by the one who asks."""

    subject = Named("nickname", queryset=Subject.objects.select_related("lab"))
    lab = Key(required=False, queryset=Lab.objects.all())

    def create(self, fields: dict[str, Any]) -> Any:
        """Write it down."""
        fields.setdefault("lab", fields["subject"].lab)
        fields.setdefault("users", [self.context["request"].user])
        return super().create(fields)


class SurgerySerializer(ActionSerializer):
    """A surgery."""

    class Meta(RecordSerializer.Meta):
        model = Surgery
        fields = (*_ACTION, "outcome_type", "implant_weight")


class VirusInjectionSerializer(ActionSerializer):
    """An injection of a virus."""

    class Meta(RecordSerializer.Meta):
        model = VirusInjection
        fields = (
            *_ACTION,
            "surgery",
            "virus_batch",
            "injection_volume",
            "rate_of_injection",
            "injection_type",
            "brain_region",
            "x",
            "y",
            "z",
        )


class OtherActionSerializer(ActionSerializer):
    """Anything else."""

    class Meta(RecordSerializer.Meta):
        model = OtherAction
        fields = _ACTION


class CullSerializer(RecordSerializer):
    """The end of an animal."""

    subject = Named("nickname", queryset=Subject.objects.select_related("lab"))
    user = Named("username", required=False, allow_null=True, queryset=User.objects.all())
    reason = Named(queryset=CullReason.objects.all())
    method = Named(required=False, allow_null=True, queryset=CullMethod.objects.all())
    humane_end_point = Key(required=False, allow_null=True, queryset=HumaneEndPoint.objects.all())

    class Meta(RecordSerializer.Meta):
        model = Cull
        fields = ("id", "subject", "user", "date", "reason", "method", "humane_end_point", "description", "json")

    def create(self, fields: dict[str, Any]) -> Cull:
        """Where nothing else is said, by the one who asks."""
        fields.setdefault("user", self.context["request"].user)
        return super().create(fields)

    def validate_subject(self, subject: Subject) -> Subject:
        """An entry about the wrong animal is deleted, whereupon that one lives again."""
        if isinstance(self.instance, Cull) and self.instance.subject_id != subject.pk:
            raise serializers.ValidationError(f"this is the end of {self.instance.subject}; delete it, and write another for {subject}")
        return subject


class NoteSerializer(RecordSerializer):
    """A note on a row of any table."""

    user = Named("username", required=False, queryset=User.objects.all())
    content_type = serializers.SlugRelatedField(
        "model", queryset=ContentType.objects.filter(app_label__in=APPS), help_text="The kind of row, such as session or subject"
    )
    image = serializers.ImageField(required=False, allow_null=True)
    width = serializers.CharField(required=False, write_only=True, help_text=f"Of the image in pixels, or orig; {WIDTH} otherwise")

    class Meta(RecordSerializer.Meta):
        model = Note
        fields = ("id", "user", "date_time", "content_type", "object_id", "text", "image", "json", "width")

    def validate_width(self, text: str) -> int | None:
        """Pixels; None leaves the image as it is."""
        if text == "orig":
            return None
        if not text.isdecimal() or not 0 < int(text) <= MAX_WIDTH:
            raise serializers.ValidationError(f"give a number of pixels up to {MAX_WIDTH}, or orig")
        return int(text)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What the note is on must be there, in a lab whose notebook may be written; the image is brought to its size."""
        kind: ContentType = fields.get("content_type") or getattr(self.instance, "content_type")  # noqa: B009
        key = fields.get("object_id") or getattr(self.instance, "object_id")  # noqa: B009
        table: Any = kind.model_class()
        by_uuid = table._meta.pk.get_internal_type() == "UUIDField"
        row = seen(table._default_manager).filter(pk=key).first() if by_uuid else None
        if row is None:
            raise serializers.ValidationError({"object_id": [f"there is no {kind.model} {key}; give the id of one"]})
        require(Area.NOTEBOOK, labs_of(row))  # before an image is stored
        width = fields.pop("width", WIDTH)
        if fields.get("image"):
            fields["image"] = stored_image(fields["image"], width)
        return fields

    def create(self, fields: dict[str, Any]) -> Note:
        """Where nothing else is said, by the one who asks."""
        fields.setdefault("user", self.context["request"].user)
        return super().create(fields)


def stored_image(upload: UploadedFile, width: int | None) -> ContentFile[bytes]:
    """An image as it is kept: of a kind that browsers show, no wider than asked for, under the name that it had.

    Raises
    ------
    ValidationError
        If it is of another kind, or too large.
    """
    if (upload.size or 0) > MAX_BYTES:
        raise serializers.ValidationError({"image": [f"larger than {MAX_BYTES // 1_000_000} MB; make it smaller"]})
    upload.seek(0)
    image = Image.open(upload)
    kind = image.format or ""
    if kind not in KINDS:
        raise serializers.ValidationError({"image": [f"{kind or 'this'} is not shown by browsers; send one of {', '.join(KINDS)}"]})
    if image.width > MAX_WIDTH or image.height > MAX_WIDTH:
        raise serializers.ValidationError({"image": [f"more than {MAX_WIDTH} pixels wide or high; make it smaller"]})
    stem = (upload.name or "image").rsplit(".", 1)[0]
    if width is None or image.width <= width:
        upload.seek(0)
        return ContentFile(upload.read(), f"{stem}{KINDS[kind]}")
    try:
        smaller = image.resize((width, max(1, round(image.height * width / image.width))))
    except (OSError, SyntaxError, ValueError) as error:
        raise serializers.ValidationError({"image": [f"cannot be read to its end ({error}); send it again"]}) from None
    buffer = io.BytesIO()
    smaller.save(buffer, kind)
    return ContentFile(buffer.getvalue(), f"{stem}{KINDS[kind]}")
