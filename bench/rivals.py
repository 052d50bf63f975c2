"""What others make of the same mailout: django-post_office and mailmerge, in a virtual environment of their own."""

import csv
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

PACKAGES = ("mailmerge", "django-post_office")

# Queues the messages, then prints the seconds that sending them took: neither the queueing nor the start is counted.
POST_OFFICE = """
import sys, time, pathlib, django
from django.conf import settings
folder, port, processes = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
paths = sorted((folder / "messages").glob("*.eml"))
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "post_office"], USE_TZ=True, SECRET_KEY="x",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / f"post_office.db")}},
    EMAIL_HOST="127.0.0.1", EMAIL_PORT=port, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    POST_OFFICE={"BATCH_SIZE": len(paths), "LOG_LEVEL": 0, "MAX_RETRIES": 0, "THREADS_PER_PROCESS": 5,
                 "BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}], LOGGING_CONFIG=None,
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from email import message_from_bytes, policy
from post_office import mail
from post_office.models import Email
Email.objects.all().delete()
queue = []
for path in paths:
    parsed = message_from_bytes(path.read_bytes(), policy=policy.default)
    text, html = (part.get_content() for part in parsed.iter_parts())
    headers = {name: str(parsed[name]) for name in ("List-Unsubscribe", "List-Unsubscribe-Post")}
    queue.append(dict(recipients=[parsed["To"].addresses[0].addr_spec], sender="a@uqx.example.org", headers=headers,
                      subject=str(parsed["Subject"]), message=text, html_message=html))
mail.send_many(queue)
started = time.perf_counter()
sent, failed, again = mail.send_queued(processes=processes)
print(time.perf_counter() - started)
assert (sent, failed, again) == (len(paths), 0, 0), (sent, failed, again)
"""


@dataclass(frozen=True)
class Rivals:
    """``python`` is the interpreter of their environment; ``versions`` is for the report."""

    python: Path
    versions: str

    def post_office(self, folder: Path, port: int, processes: int) -> float:
        """Seconds that django-post_office takes for the queued messages of ``folder/messages``."""
        command = [str(self.python), "-c", POST_OFFICE, str(folder), str(port), str(processes)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

    def mailmerge(self, folder: Path, port: int) -> float:
        """Seconds that ``mailmerge`` takes for the same people, with HTML; its start is counted, as it is a command."""
        place = folder / "mailmerge"
        if not place.exists():
            _write_mailmerge(place, folder / "messages", port)
        program = self.python.with_name("mailmerge")
        command = [str(program), "--no-dry-run", "--no-limit", "--template", "template.txt", "--config", "server.conf"]
        started = time.perf_counter()
        subprocess.run([*command, "--database", "people.csv"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def install_rivals(folder: Path) -> Rivals:
    """A virtual environment with today's versions of both."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    quiet = [str(python), "-m", "pip", "--disable-pip-version-check", "-qq"]
    subprocess.run([*quiet, "install", *PACKAGES], check=True)
    listed = subprocess.run([*quiet, "freeze"], check=True, capture_output=True, text=True).stdout.split()
    names = re.compile(rf"(?:{'|'.join(PACKAGES)}|django)==", re.IGNORECASE)
    return Rivals(python, ", ".join(each for each in listed if names.match(each)))


def write_messages(messages: Sequence[bytes]) -> Path:
    """A folder with ``messages/*.eml``."""
    folder = Path(tempfile.mkdtemp(prefix="mmcampaign-rivals-"))
    (folder / "messages").mkdir()
    for number, message in enumerate(messages):
        (folder / "messages" / f"{number:06}.eml").write_bytes(message)
    return folder


def _write_mailmerge(place: Path, messages: Path, port: int) -> None:
    """Its three files: the first message as a template, with the name as its variable."""
    place.mkdir()
    paths = sorted(messages.glob("*.eml"))
    first = message_from_bytes(paths[0].read_bytes())
    text, html = (_escaped(part.get_payload(decode=True)) for part in first.get_payload())  # type: ignore[union-attr]  # ours are multipart
    parts = "".join(
        f"--bound\nContent-Type: text/{kind}; charset=utf-8\n\n{{{{name}}}}\n{body}\n"
        for kind, body in (("plain", text), ("html", html))
    )
    head = "TO: {{email}}\nFROM: a@uqx.example.org\nSUBJECT: Well done\nMIME-Version: 1.0\n"
    head += 'Content-Type: multipart/alternative; boundary="bound"\n\n'
    (place / "template.txt").write_text(f"{head}{parts}--bound--\n", "utf-8")
    (place / "server.conf").write_text(f"[smtp_server]\nhost = 127.0.0.1\nport = {port}\n", "utf-8")
    with (place / "people.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["email", "name"])
        rows.writerows([f"learner{number}@mail.example", f"Ana {number}"] for number in range(len(paths)))


def _escaped(payload: object) -> str:
    """Braces of ours must not be taken for its variables."""
    assert isinstance(payload, bytes)
    return payload.decode().replace("{{", "").replace("{%", "").replace("{#", "# {").replace("\r\n", "\n")
