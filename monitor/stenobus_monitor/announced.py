"""What a text itself says is a secret, be it an ordinary word: what has a telling name or a telling place."""

from __future__ import annotations

import re
from typing import Final

#: What stands for each.
HIDDEN: Final = "[secret]"
#: Names whose value is nobody else's business.
_NAMES: Final = (
    r"(?:pass(?:w(?:or)?d|wort|phrase|code|wd)?|pwd|secret|token|cred(?:ential)?|auth|session(?:[ _-]?id)?|sid|csrf|jwt"
    r"|(?:api|access|private|secret|signing|auth|account|master|encryption|license|shared)[ _-]?key|pin|otp|totp|salt"
    r"|seed|mnemonic|signature|sig|bearer|login|sas|dsn)s?"
)
#: What they are part of: ``DB_PASSWORD``, ``clientSecret``.
_COMPOUNDS: Final = (
    r"(?:[\w.-](?:Password|Passwd|Pwd|Secret|Token|Key)|[\w.-](?i:password|passwd|pwd|secret|token|_key|-key))s?"
)
#: Those whose value people say right behind them, and options of commands.
_SPOKEN: Final = (
    r"(?:(?i:pass(?:w(?:or)?d|wort|phrase|code|wd)|pwd|secret|pin|otp|bearer)|PASS"
    r"|--?[a-z-]{0,20}(?:pass(?:word)?|key|token|secret|auth))"
)
#: Words that follow such a name in messages and say what became of it.
_STATES: Final = (
    r"(?:expired|invalid|missing|required|revoked|none|null|true|false|empty|unknown|denied|refused|failed|failure"
    r"|errors?|not|no|is|was|are|has|for|of|the|an?|to|in|from|on|at|by|with|and|or|authentication|file|path|given|set"
    r"|unset|violation|handler|limit|manager|provider|check|rejected|mismatch|store|field|option|type)"
    r"\b(?![-+/@$%*#!.]\w)"
)
_VALUE: Final = r"(?:\"[^\"]*\"?|'[^']*'?|`[^`]*`?|[^\s\"'`,;&|<>(){}\[\]]+)"
#: Of which a text must hold one, in lower case, for an expression to be tried; and the expression.
_SEEN: Final = tuple(
    (tuple(hints.split(",")), re.compile(expression))
    for hints, expression in (
        # Named: password=…, "token": "…", api-key => …, secret is …
        (
            "pass,pwd,secret,token,cred,key,auth,sess,sid,csrf,jwt,pin,otp,salt,seed,mnemonic,sig,bearer,login,sas,dsn",
            rf"(?:(?<![A-Za-z])(?i:{_NAMES})|{_COMPOUNDS})[\"'`\]]{{0,2}}\s{{0,4}}"
            rf"(?:=>|:?={{1,3}}|:(?!//)|\b(?:is|was|ist|lautet)\b)\s{{0,4}}(?!(?i:{_STATES}))(?P<value>{_VALUE})",
        ),
        # Spoken or an option: password …, --token …
        (
            "pass,pwd,secret,pin,otp,bearer,key,token,auth",
            rf"(?<!\w){_SPOKEN}[ \t]{{1,4}}(?!(?i:{_STATES}))(?P<value>{_VALUE})",
        ),
        # Headers, to the end of the line or of what is quoted.
        (
            "authorization,cookie,x-",
            r"(?i:(?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]{0,40}(?:auth|key|token)[a-z-]{0,40})"
            r"[\"'`]?\s{0,2}[:=]\s{0,2}[\"'`]?(?P<value>[^\"'`\r\n]+)",
        ),
        # Phrases, to the end of the line, and twelve words in a row that make no sentence, as of wallets.
        (
            "mnemonic,phrase,word",
            r"(?i:mnemonic|passphrase|(?:seed|recovery|backup)[ _-]?(?:phrase|words?))s?[\"'`]?"
            r"(?:\s{0,2}[:=]|\s{1,4}(?:is|was)\b)\s{0,2}(?P<value>[^\r\n]+)",
        ),
        (
            "",
            r"(?<![\w-])(?<!\w )(?!(?:[a-z]+ )*(?:the|for|with|from|not|was|were|are|has|been|but|and)\b)"
            r"(?P<value>(?:[a-z]{3,8} ){11,23}[a-z]{3,8})(?![\w-])",
        ),
        # In front of a host: //user:password@host, scott/tiger@db.
        ("@", r"(?<=://)(?P<value>[^\s/@\"'<>]+)(?=@)"),
        ("@", r"(?<![\w.-])[\w.-]{1,80}[:/](?P<value>[^\s/@\"'<>]+)(?=@)"),
        # Options of commands that take user:password, or the password with no space between.
        ("-u,--proxy-user", r"(?<!\S)(?:-u|--user|--proxy-user)[= \t]{1,2}[\"']?[^\s:\"']+:(?P<value>[^\s\"']+)"),
        ("-p", r"(?<!\S)-p(?P<value>[^\s\d:][^\s:]{3,})(?=\s|$)"),
        # .pgpass
        (":", r"(?<![\w.-])[\w.*-]{1,60}:(?:\d{2,5}|\*):[\w*-]{1,60}:[\w*-]{1,60}:(?P<value>\S+)"),
    )
)


def hidden(text: str) -> str:
    """The text with :data:`HIDDEN` in place of each such value."""
    lowered = text.lower()
    for hints, expression in _SEEN:
        if not any(hint in lowered for hint in hints):
            continue
        parts, at = [], 0
        for found in expression.finditer(text):
            start, end = found.span("value")
            parts += [text[at:start], HIDDEN]
            at = end
        text = "".join(parts) + text[at:]
    return text
