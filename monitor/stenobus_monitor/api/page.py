"""The pages of an alert's link: plain HTML without scripts, styles or anything from elsewhere.

Who asks is told nothing until they have shown a key. The forms' addresses are relative, so that they work behind a
proxy that serves them below another path.
"""

from __future__ import annotations

from html import escape

from fastapi.responses import HTMLResponse

from ..account import Deed


def key_page(address: str, trouble: str = "", status: int = 200) -> HTMLResponse:
    """Asks for a key.

    Args:
        address: where it goes.
        trouble: what was wrong with the one before.
    """
    said = f"<p><strong>{escape(trouble)}</strong></p>" if trouble else ""
    return _page(
        f"<h1>Approve an action</h1>{said}"
        f'<form method="post" action="{escape(address)}">'
        '<p><label>Your API key <input type="password" name="key" autocomplete="current-password" required autofocus>'
        "</label></p><p>One with the right to approve. You then see what would be done; nothing is approved yet.</p>"
        "<button>Show the action</button></form>",
        status,
    )


def asking_page(deed: Deed, who: str, confirmation: str, *, undo: bool) -> HTMLResponse:
    """What would be done, or was done and can be taken back, and a button for that."""
    holds = f"Holds until {deed.expires_at:%Y-%m-%d %H:%M:%S} UTC, and is done once."
    became = f"It {deed.outcome}: {deed.detail}. It can be taken back, once."
    return _page(
        f"{_about(deed)}<p>{escape(became if undo else holds)}</p>"
        '<form method="post" action="page">'
        f'<input type="hidden" name="confirmation" value="{escape(confirmation)}">'
        f"<button>{'Take it back' if undo else 'Approve'} as {escape(who)}</button></form>"
    )


def approved_page(deed: Deed) -> HTMLResponse:
    """The approval is on its way."""
    return _page(
        f"{_about(deed)}<p>Your approval is on its way to the monitor, which has it checked. What comes of it: "
        f"<code>stenobus monitor actions {escape(deed.action.action_id)}</code></p>",
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
