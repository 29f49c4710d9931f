"""The application that gunicorn serves: ``python -m gunicorn ranvier.database.wsgi:application``."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ranvier.database.settings")
application = get_wsgi_application()
