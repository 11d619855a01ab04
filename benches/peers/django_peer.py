"""django-chunked-upload by itself: two views, SQLite, no middleware, nobody asked who they are.

`python django_peer.py` makes the tables; gunicorn serves `django_peer:application`.
"""

import os
import sys
from pathlib import Path

from django.conf import settings
from django.utils import translation

FOLDER = Path(os.environ["PEER_FOLDER"])

# Django 4 took this name away, and the package imports it.
translation.ugettext = translation.gettext

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            "OPTIONS": {"timeout": 60},
        }
    },
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    FILE_UPLOAD_TEMP_DIR=FOLDER,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "chunked_upload"],
    MEDIA_ROOT=FOLDER / "files",
    MIDDLEWARE=[],
    ROOT_URLCONF=__name__,
    SECRET_KEY="nobody signs anything with it",
    USE_TZ=True,
)

if __name__ == "__main__":
    import django
    from django.core.management import call_command

    sys.modules["django_peer"] = sys.modules[__name__]
    django.setup()
    call_command("migrate", verbosity=0)
else:
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()

    from chunked_upload.views import ChunkedUploadCompleteView, ChunkedUploadView
    from django.urls import path

    urlpatterns = [path("", ChunkedUploadView.as_view()), path("complete/", ChunkedUploadCompleteView.as_view())]
