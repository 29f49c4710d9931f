"""The ways to people: e-mail through an SMTP server, and a POST to a webhook such as Slack's."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

from ranvier.errors import RanvierError
from ranvier.settings import Settings

#: Seconds that a mail server or a webhook has for its answer.
PATIENCE_S = 10.0


class ChannelError(RanvierError):
    """A notice did not go; the message says through what and why."""


@dataclass(frozen=True)
class Notice:
    """What people are told.

    Attributes
    ----------
    subject
        In one line.
    body
        The whole, as plain text.
    event
        The event of the database that it tells of.
    """

    subject: str
    body: str
    event: dict[str, Any]


@dataclass(frozen=True)
class Channel:
    """A way to people.

    Attributes
    ----------
    name
        What it is called.
    send
        Sends a notice, or raises `ChannelError`.
    """

    name: str
    send: Callable[[Notice], None]


def channels(settings: Settings) -> list[Channel]:
    """The ways that the settings name; none where they name none."""
    chosen = settings.notify
    found = []
    if chosen.email_to and chosen.smtp:
        found.append(Channel("e-mail", lambda notice: send_email(notice, settings)))
    if chosen.webhook:
        found.append(Channel("webhook", lambda notice: post(notice, chosen.webhook, chosen.webhook_style)))
    return found


def send_email(notice: Notice, settings: Settings) -> None:
    """Send a notice through the settings' mail server; TLS where the server offers it.

    Raises
    ------
    ChannelError
        If the server does not take it.
    """
    chosen = settings.notify
    message = EmailMessage()
    message["Subject"] = " ".join(notice.subject.split())[:200]
    message["From"], message["To"] = chosen.email_from, chosen.email_to
    message["Message-ID"] = f"<event-{notice.event['id']}.{settings.lab.name}@ranvier>"
    message.set_content(notice.body)
    try:
        with _connected(chosen.smtp, settings) as server:
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise ChannelError(f"e-mail through {urlsplit(chosen.smtp).hostname}: {type(error).__name__}: {error}") from None


def _connected(address: str, settings: Settings) -> smtplib.SMTP:
    where = urlsplit(address)
    if where.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            where.hostname or "", where.port or 465, timeout=PATIENCE_S, context=ssl.create_default_context()
        )
    else:
        server = smtplib.SMTP(where.hostname or "", where.port or 25, timeout=PATIENCE_S)
        if server.has_extn("starttls") or (server.ehlo()[0] == 250 and server.has_extn("starttls")):
            server.starttls(context=ssl.create_default_context())
    if where.username:
        server.login(unquote(where.username), settings.secret("smtp_password"))
    return server


def post(notice: Notice, address: str, style: str) -> None:
    """Post a notice to a webhook.

    Raises
    ------
    ChannelError
        If it is not taken.
    """
    text = f"*{notice.subject}*\n{notice.body}" if style == "slack" else f"{notice.subject}\n{notice.body}"
    content = {"text": text} if style == "slack" else {"text": text, "event": notice.event}
    try:
        answer = requests.post(address, json=content, timeout=PATIENCE_S)
    except requests.RequestException as error:
        raise ChannelError(f"webhook at {urlsplit(address).hostname}: {type(error).__name__}") from None
    if not answer.ok:
        raise ChannelError(f"webhook at {urlsplit(address).hostname}: it answered {answer.status_code}: {answer.text[:200]}")
