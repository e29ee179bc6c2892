"""The pages of an alert's link: plain HTML without scripts, styles or anything from elsewhere."""

from __future__ import annotations

from html import escape

from fastapi.responses import HTMLResponse

from ..account import Deed


def asking_page(deed: Deed, token: str) -> HTMLResponse:
    """What would be done, and a button."""
    return _page(
        f"{_about(deed)}<p>Until {deed.expires_at:%Y-%m-%d %H:%M:%S} UTC, once.</p>"
        # Relative, so that it works behind a proxy that serves it below another path.
        f'<form method="post" action="approve/link"><input type="hidden" name="token" value="{escape(token)}">'
        "<button>Approve</button></form>"
    )


def approved_page(deed: Deed) -> HTMLResponse:
    """The approval is on its way."""
    return _page(
        f"{_about(deed)}<p>Your approval is on its way to the monitor, which checks it. What comes of it: "
        f"<code>stenobus monitor show {escape(deed.action.incident_id)}</code></p>",
        202,
    )


def trouble_page(deed: Deed, trouble: str) -> HTMLResponse:
    """Why it cannot be approved."""
    return _page(f"{_about(deed)}<p><strong>{escape(trouble)}</strong></p>", 409)


def _about(deed: Deed) -> str:
    return (
        f"<h1>{escape(deed.action.kind)}: {escape(deed.action.target)}</h1>"
        f"<p>Because: {escape(deed.reason)}</p><p>It {escape(deed.dry_run)}.</p>"
    )


def _page(body: str, status: int = 200) -> HTMLResponse:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Stenobus</title>'
    return HTMLResponse(f'<!doctype html><html lang="en">{head}{body}</html>', status)
