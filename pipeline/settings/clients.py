"""Arguments of the Kafka and ClickHouse clients, made from the settings in one place."""

import ssl
from typing import Any
from urllib.parse import urlsplit

from pipeline.settings.model import Settings


def kafka_arguments(settings: Settings) -> dict[str, Any]:
    """Return the connection arguments of aiokafka's producer, consumer and admin client."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol in ("SSL", "SASL_SSL"):
        arguments["ssl_context"] = kafka_ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        if settings.kafka_username is None or settings.kafka_password is None:
            raise ValueError(
                "SASL needs kafka_username and kafka_password (USAGE_KAFKA_USERNAME, USAGE_KAFKA_PASSWORD)"
            )
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_username
        arguments["sasl_plain_password"] = settings.kafka_password.get_secret_value()
    return arguments


def consumer_arguments(settings: Settings) -> dict[str, Any]:
    """Return the arguments of every consumer: the connection, and to read only what was committed."""
    return kafka_arguments(settings) | {"isolation_level": "read_committed", "enable_auto_commit": False}


def kafka_ssl_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS context for Kafka; it always checks the broker's certificate and name."""
    context = ssl.create_default_context(cafile=settings.kafka_ca_file)
    if settings.kafka_cert_file is not None:
        context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
    return context


def clickhouse_arguments(settings: Settings) -> dict[str, Any]:
    """Return the connection arguments of clickhouse_connect.get_client."""
    url = urlsplit(settings.clickhouse)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"clickhouse: {settings.clickhouse!r} is not an http:// or https:// address")
    secure = url.scheme == "https"
    password = settings.clickhouse_password
    return {
        "host": url.hostname,
        "port": url.port or (8443 if secure else 8123),
        "secure": secure,
        "username": settings.clickhouse_user,
        "password": password.get_secret_value() if password else "",
        "ca_cert": str(settings.clickhouse_ca_file) if settings.clickhouse_ca_file else None,
    }
