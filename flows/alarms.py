"""An automation of Prefect's own: a flow run that fails is posted to the lab's webhook, whatever it was that failed in it.

Ranvier's notices (`ranvier.notify`) tell of tasks; this also hears of runs that failed before they came to a task. The server of Prefect
does it by itself: its event service sees the failure, its action service posts.
"""

from __future__ import annotations

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture

from ranvier.errors import RanvierError
from ranvier.settings import Settings

#: What is posted, a template that Prefect fills in; Slack and its like show the text.
_WORDS = '"flow run " ~ flow.name ~ " / " ~ flow_run.name ~ " is " ~ flow_run.state.name ~ ": " ~ flow_run.state.message'
_PAYLOAD = f'{{"text": {{{{ ({_WORDS}) | tojson }}}} }}'


def automation_name(lab: str) -> str:
    """What Prefect calls it."""
    return f"ranvier: failed flow runs of {lab}"


def set_alarm(settings: Settings) -> str:
    """Create or update the automation of the lab's work pool.

    Returns
    -------
    str
        Its name.

    Raises
    ------
    RanvierError
        If the settings name no webhook.
    """
    address = settings.notify.webhook
    if not address:
        raise RanvierError("notify.prefect is true, and notify.webhook names no address", "set notify.webhook in config.toml")
    lab = settings.lab.name
    block = Webhook(method="POST", url=address, allow_private_urls=True)
    block_id = block.save(f"ranvier-{lab.lower().replace('_', '-')}", overwrite=True)
    wanted = Automation(
        name=automation_name(lab),
        description="Made by Ranvier's deployment step, as notify.prefect asks for.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "work-pool", "prefect.resource.name": lab},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=block_id, payload=_PAYLOAD)],
    )
    _replace(wanted)
    return wanted.name


def _replace(wanted: Automation) -> None:
    try:
        there = Automation.read(name=wanted.name)
    except ValueError:
        wanted.create()
        return
    assert isinstance(there, Automation)  # outside of an event loop it is not a coroutine
    wanted.id = there.id
    wanted.update()
