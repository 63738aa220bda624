import pytest
from click.testing import CliRunner

from pipeline.cli import _COMMANDS, usage


@pytest.mark.parametrize("command", sorted(_COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    """`--help` of every command works and says more than its name."""
    result = CliRunner().invoke(usage, [command, "--help"])

    assert result.exit_code == 0
    assert len(result.output) > 150


def test_an_unknown_command_is_refused() -> None:
    """A misspelt command exits with 2, as shells expect of wrong usage."""
    result = CliRunner().invoke(usage, ["statment"])

    assert result.exit_code == 2
    assert "statment" in result.output
