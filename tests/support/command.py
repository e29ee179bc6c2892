"""The command, as scripts see it."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from stenobus_core.cli import cli


class Command:
    """``stenobus …`` in this process, on the session's server."""

    def __call__(self, *arguments: str, input: str | None = None, expect: int = 0) -> Result:
        result = CliRunner().invoke(cli, arguments, input=input)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == expect, result.output
        return result

    def json(self, *arguments: str, expect: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", expect=expect).stdout)

    def fails(self, *arguments: str, expect: int = 1, **more: Any) -> str:
        """The one sentence on stderr, and nothing on stdout."""
        result = self(*arguments, expect=expect, **more)
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        return result.stderr.removeprefix("Error: ").strip()
