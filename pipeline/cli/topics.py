"""`usage topics`: create the Kafka topics."""

import asyncio
import json

import click
from aiokafka.errors import KafkaError

from pipeline.cli.options import options_for
from pipeline.settings import Settings
from pipeline.stream.topics import TopicError, ensure_topics


@click.command("topics")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print them.")
@options_for("kafka", "log_level")
def topics_command(form: str, settings: Settings) -> None:
    """Create the topics that are missing, and say how those that exist differ from what they should be.

    Partitions and copies come from the settings `partitions` and `replication_factor`; what the topics hold and why
    they are set so stands in schemas/topics/.
    """
    try:
        results = asyncio.run(ensure_topics(settings))
    except TopicError as error:
        raise click.ClickException(str(error)) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {settings.kafka}: {error!r}; is it up, and is --kafka right?") from None
    if form == "json":
        click.echo(json.dumps([vars(result) for result in results], indent=2))
        return
    for result in results:
        click.echo(f"{result.name:<20} {result.outcome:<8} {result.partitions} partitions")
        for name, (wanted, actual) in result.differences.items():
            click.echo(f"    {name} is {actual}, should be {wanted}")
