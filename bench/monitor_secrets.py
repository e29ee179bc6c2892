"""How many of fifty planted secrets leave the host when a diagnosis may ask a model elsewhere.

    python bench/monitor_secrets.py [SEED] [--base IMAGE] [--rules gitleaks.toml] [--here SEEDS]
    python bench/monitor_secrets.py [SEED] --rules trufflehog/pkg/detectors

Containers write log lines with a secret each and die; the real monitor, with the level `any`, makes evidence of them
and asks a model that does not count as local; the server in its place records all it receives. A secret has left when
its text, or any twelve characters of it in a row, is in there.

Our own fifty kinds were listed first and then served to find the shapes in `stenobus_core.unmarked`: they say what
became of them. What nobody tuned on are instances of the token formats in gitleaks' list (`config/gitleaks.toml`) or
in trufflehog's detectors, drawn by the seed. Of both those count whose name's SHA-1 is odd: failures of the others
were looked at. With `--here` the lines go through the diagnosis alone, thousands in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import string
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
from token_formats import Planted, instances

from stenobus_contracts import LlmRequest, MonitorIncident
from stenobus_monitor.diagnosis import Means, diagnose
from stenobus_monitor.dossier import gather
from stenobus_monitor.evaluation.case import Case
from stenobus_monitor.evaluation.faults import carry_out
from stenobus_monitor.evaluation.image import build
from stenobus_monitor.evaluation.model import ModelServer, Script
from stenobus_monitor.evaluation.run import Record
from stenobus_monitor.evaluation.world import World
from stenobus_monitor.findings import line

_ALPHABETS = {
    "hex": "0123456789abcdef",
    "HEX": "0123456789ABCDEF",
    "b62": string.ascii_letters + string.digits,
    "b64": string.ascii_letters + string.digits + "+/",
    "url": string.ascii_letters + string.digits + "-_",
    "b32": string.ascii_uppercase + "234567",
    "b58": "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    "low": string.ascii_lowercase + string.digits,
    "upp": string.ascii_uppercase + string.digits,
    "dig": string.digits,
    "pwd": string.ascii_letters + string.digits + "!#%*+-",
}
#: Name, and a line of a log; the secret stands between « and ».
KINDS = (
    ("shopify", "shop sync refused for «shpat_{hex32}»"),
    ("square", "square answered 401 to «sq0atp-{url22}»"),
    ("linear", "linear: cannot comment as «lin_api_{b62:40}»"),
    ("doppler", "doppler run with «dp.pt.{b62:43}» failed"),
    ("databricks", "warehouse refuses «dapi{hex32}»"),
    ("grafana", "pushing annotations as «glsa_{b62:32}_{hex8}»"),
    ("vault", "vault login with «hvs.{url90}»"),
    ("terraform", "remote state: «{b62:14}.atlasv1.{url64}» is not allowed"),
    ("pulumi", "pulumi up as «pul-{hex40}»"),
    ("postman", "newman run --key «PMAK-{hex24}-{hex34}»"),
    ("newrelic", "agent started with «NRAK-{upp27}»"),
    ("sentry", "uploading maps as «sntrys_{b62:120}»"),
    ("figma", "figma export with «figd_{url40}»"),
    ("notion", "notion page 7 as «ntn_{b62:46}»"),
    ("airtable", "airtable base as «pat{b62:14}.{hex64}»"),
    ("mailgun", "mail over «key-{hex32}» bounced"),
    ("twilio", "sms over «SK{hex32}» failed"),
    ("telegram", "POST https://api.telegram.org/bot«{dig9}:AA{url33}»/sendMessage 401"),
    ("discord-bot", "gateway closed for «{b62:24}.{b62:6}.{url38}»"),
    ("discord-hook", "POST https://discord.com/api/webhooks/{dig18}/«{url68}» 404"),
    ("rubygems", "gem push as «rubygems_{hex48}»"),
    ("dockerhub", "docker login as ci with «dckr_pat_{url27}»"),
    ("planetscale", "connecting as app «pscale_pw_{b62:43}»"),
    ("fly", "deploy with «fo1_{b62:43}»"),
    ("netlify", "netlify deploy --auth «nfp_{b62:36}»"),
    ("azure-sas", "GET https://acc.blob.core.windows.net/c/f?sv=2022-11-02&sig=«{b62:42}%3D» 403"),
    ("azure-client", "az login --service-principal -p «{b62:3}8Q~{b62:34}»"),
    ("aws-secret", "signing with «{b64:40}» for eu-west-1"),
    ("presigned", "GET https://b.s3.amazonaws.com/k?X-Amz-Expires=900&X-Amz-Signature=«{hex64}» 403"),
    ("gcp-key-id", 'loaded {{"type": "service_account", "private_key_id": "«{hex40}»"}}'),
    ("heroku", "heroku run as «HRKU-{url60}»"),
    ("atlassian", "jira search as «ATATT3xFfGF0{url180}»"),
    ("dropbox", "dropbox upload as «sl.{url130}»"),
    ("cookie", "request headers: Cookie: sessionid=«{b62:32}»; theme=dark"),
    ("set-cookie", "Set-Cookie: PHPSESSID=«{low26}»; path=/"),
    ("django-token", "Authorization: Token «{hex40}»"),
    ("auth-header", "X-Auth: «{url32}»"),
    ("oracle", "cannot reach jdbc:oracle:thin:scott/«{pwd14}»@//db:1521/x"),
    ("mysql-option", "exec mysql -u root -p«{pwd14}» -h db orders"),
    ("curl-user", "exec curl -u backup:«{pwd14}» https://files.example.com/a"),
    ("pgpass", "pgpass: db.example.com:5432:orders:app:«{pwd14}»"),
    ("jwk", 'loaded {{"kty":"oct","kid":"k1","k":"«{url43}»"}}'),
    ("kubeadm", "kubeadm join 10.0.0.4:6443 --token «{low6}.{low16}»"),
    ("ethereum", "wallet opened with «0x{hex64}»"),
    ("webhook-secret", "no match for signature under «whsec_{b62:32}»"),
    ("okta", "Authorization: SSWS «00{url40}»"),
    ("jsessionid", "GET /login;jsessionid=«{HEX32}» 302"),
    ("magic-link", "mailed https://app.example.com/reset?t=«{url43}»"),
    ("oauth-code", "GET /callback?code=«{hex20}»&state=1 400"),
    ("ftp", "> USER backup > PASS «{pwd14}»"),
)
_PIECE = re.compile(r"\{(hex|HEX|b62|b64|url|b32|b58|low|upp|dig|pwd):?(\d+)\}")
#: Lines of one container: as many as the engine's last words bring into the evidence.
_LINES = 5
#: Characters in a row of a secret that are as good as all of it.
_PART = 12
#: Characters of a line that become evidence, roughly: longer ones are cut off there.
_LONGEST = 500


def planted(seed: int) -> Iterator[Planted]:
    """One of each kind."""
    dice = random.Random(seed)
    for name, template in KINDS:
        filled = _PIECE.sub(lambda found: "".join(dice.choices(_ALPHABETS[found[1]], k=int(found[2]))), template)
        filled = filled.replace("{{", "{").replace("}}", "}")
        begin, end = filled.index("«"), filled.index("»")
        yield Planted(name, filled[begin + 1 : end], filled.replace("«", "").replace("»", ""))


def unseen(rules: Path, seed: int) -> Iterator[Planted]:
    """The same of formats that nobody tuned on."""
    for each in instances(rules, seed):
        if int(hashlib.sha1(each.name.encode()).hexdigest(), 16) % 2 and len(each.line) < _LONGEST:
            yield each


def left(planted: Planted, text: str) -> bool:
    """Whether a secret, or enough of it, is in a text; what every secret of its format has does not count."""
    parts = (planted.secret[at : at + _PART] for at in range(max(1, len(planted.secret) - _PART + 1)))
    return any(part in text for part in parts if part not in planted.others)


async def died(lines: Sequence[str], base: str) -> list[str]:
    """What the model is sent when containers write these lines and die."""
    groups = [lines[at : at + _LINES] for at in range(0, len(lines), _LINES)]
    services = [{"name": f"s{number}", "command": "while true; do sleep 1; done"} for number in range(len(groups))]
    steps = [{"do": "say", "service": f"s{number}", "lines": group} for number, group in enumerate(groups)] + [
        {"do": "signal", "service": f"s{number}", "signal": "KILL"} for number in range(len(groups))
    ]
    case = Case.model_validate(
        {
            "name": "secrets", "kind": "secrets", "about": "Containers write secrets and die", "fault": False,
            "services": services, "steps": steps, "monitor": {"diagnose": "any", "diagnosis_timeout": 60},
        }
    )  # fmt: skip
    client, models = docker.from_env(timeout=60), ModelServer()
    await models.start()
    script = models.scripts["secrets"] = Script(case)
    world = World(client, build(client, base), "/var/run/docker.sock", case, models.url("secrets"))
    record = Record(world)
    try:
        await world.start()
        for step in case.steps:
            await carry_out(step, world, script)
        async with asyncio.timeout(180):
            while len([each for each in record.outcome(0).incidents if each.cause]) < len(groups):
                await record.look()
                await asyncio.sleep(0.5)
    finally:
        await world.stop()
        await models.stop()
        client.close()
    return [text for body in script.heard for text in (body, *_contents(json.loads(body)))]


async def diagnosed(lines: Sequence[str]) -> list[str]:
    """The same without containers: what the diagnosis alone asks a model elsewhere."""
    heard: list[str] = []

    async def ask(asked: LlmRequest) -> None:
        if not asked.local_only:
            body = asked.model_dump(mode="json")
            heard.extend((json.dumps(body), *_contents(body)))

    for at in range(0, len(lines), _LINES):
        evidence = tuple(line("log", "container:s", each) for each in lines[at : at + _LINES])
        incident = MonitorIncident(
            incident_id=f"i{at}", fingerprint=f"f{at}", kind="container.crashed", severity="critical", title="s died",
            component="container:s", evidence=evidence, started_at=datetime.now(UTC),
        )  # fmt: skip
        await diagnose(incident, gather(incident, [], [], {}, 10_000), Means(ask, escalate=True))
    return heard


async def main(seed: int, base: str, rules: Path | None, seeds: int) -> int:
    """Print how many left, and which."""
    every = range(seed, seed + max(seeds, 1))
    secrets = [each for at in every for each in (unseen(rules, at) if rules else planted(at))]
    secrets = secrets if seeds else secrets[: len(KINDS)]
    lines = [f"line {number}: {each.line}" for number, each in enumerate(secrets)]
    said = "\n".join(await (diagnosed(lines) if seeds else died(lines, base)))
    gone = [each.name for each in secrets if left(each, said)]
    shown = sum(f"line {number}:" in said for number in range(len(lines)))
    print(f"{len(said)} characters were sent; the lines of {shown} of {len(secrets)} are in them")
    print(f"{len(gone)} of {len(secrets)} secrets left the host: {', '.join(gone) or 'none'}")
    return len(gone)


def _contents(body: dict[str, Any]) -> list[str]:
    return [message["content"] for message in body["messages"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--base", default=os.environ.get("STENOBUS_BASE", "python:3.11-slim"))
    parser.add_argument("--rules", type=Path)
    parser.add_argument(
        "--here", type=int, default=0, metavar="SEEDS", help="no containers, and all formats of so many seeds"
    )
    asked = parser.parse_args()
    sys.exit(asyncio.run(main(asked.seed, asked.base, asked.rules, asked.here)) > 0)
