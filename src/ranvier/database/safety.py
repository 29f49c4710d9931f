"""What the database refuses to start with."""

from __future__ import annotations

from ranvier.settings import Settings, SettingsError

#: Characters that a signing key and a token have at least, and different ones in the key.
SHORTEST_KEY, SHORTEST_TOKEN, FEWEST_DIFFERENT = 50, 20, 5
#: Characters of the administrator's first password.
SHORTEST_PASSWORD = 8


def refuse_unsafe(settings: Settings) -> None:
    """Look at the secrets with which whoever guesses them may do anything.

    Raises
    ------
    SettingsError
        If one is short, or an example; it says which, and what mends it.
    """
    for name, shortest in (("django_key", SHORTEST_KEY), ("token", SHORTEST_TOKEN)):
        value = settings.secret(name)
        is_example = name == "django_key" and (len(set(value)) < FEWEST_DIFFERENT or value.startswith("django-insecure"))
        if len(value) < shortest or is_example:
            where = settings.secret_source(name)
            hint = f"delete it and start again, which makes one, or put {shortest} random characters there"
            raise SettingsError(f"the secret {name} ({where}) can be guessed: it is short, or an example", hint)


def refuse_weak_password(settings: Settings) -> None:
    """Look at the password that the administrator is made with.

    Raises
    ------
    SettingsError
        If it is short.
    """
    if len(settings.secret("admin_password")) < SHORTEST_PASSWORD:
        where = settings.secret_source("admin_password")
        raise SettingsError(
            f"the administrator's password ({where}) has fewer than {SHORTEST_PASSWORD} characters", "write a longer one there"
        )
