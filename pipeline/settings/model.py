"""The settings, their meaning and their defaults."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

MASK = "********"


class Settings(BaseSettings):
    """What a process needs to know to run; unset secrets mean that none is used."""

    model_config = SettingsConfigDict(env_prefix="USAGE_", extra="forbid", frozen=True)

    kafka: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port, separated by commas")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to talk to Kafka"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, used with SASL_*"
    )
    kafka_username: str | None = Field(None, description="SASL user name")
    kafka_password: SecretStr | None = Field(None, description="SASL password")
    kafka_ca_file: Path | None = Field(None, description="certificate authority of the Kafka brokers (PEM)")
    kafka_cert_file: Path | None = Field(None, description="our client certificate for Kafka (PEM)")
    kafka_key_file: Path | None = Field(None, description="key of our client certificate for Kafka (PEM)")

    clickhouse: str = Field("http://127.0.0.1:8123", description="ClickHouse HTTP(S) address")
    clickhouse_user: str = Field("default", description="ClickHouse user")
    clickhouse_password: SecretStr | None = Field(None, description="ClickHouse password")
    clickhouse_ca_file: Path | None = Field(None, description="certificate authority of ClickHouse (PEM)")

    catalog: Path | None = Field(None, description="catalog file, or folder of catalog files")

    partitions: int = Field(4, ge=1, le=1024, description="partitions of the topics that `usage topics` creates")
    replication_factor: int = Field(1, ge=1, le=9, description="copies of each partition")
    worker_group: str = Field("usage-worker", description="consumer group of the workers")
    worker_name: str | None = Field(
        None,
        description="name of this worker in its group, unique and kept over restarts; without one, host and a free number",
    )
    worker_session_ms: int = Field(
        10_000, ge=1_000, description="after how long without a sign of life a worker's partitions go to others, in ms"
    )
    worker_rebalance_ms: int = Field(
        20_000,
        ge=1_000,
        description="how long a worker may take to finish its round when partitions are dealt out anew, in ms",
    )
    worker_commit_ms: int = Field(1_000, ge=50, description="how often a worker commits its positions, in ms")
    worker_skip: bool = Field(
        False,
        description="go on where the group's committed offsets are ahead of the states: gives up what lies in between",
    )
    worker_poison_stop: bool = Field(
        False,
        description="stop when nearly every event of a partition is rejected, instead of only saying so",
    )
    worker_round_ms_min: int = Field(
        20,
        ge=0,
        description="least time from one round of a partition to the next, in ms: so often a customer's quota is written at most",
    )
    worker_round_bytes_max: int = Field(4 << 20, ge=1, description="source bytes that a worker rates before it writes")
    worker_buffer_bytes_max: int = Field(
        16 << 20,
        ge=1,
        description="source bytes that a worker holds a topic and partition before it stops reading ahead",
    )
    merge_wait_ms: int = Field(
        5, ge=0, description="how long an event waits for a grant that was sent with it and arrives after it, in ms"
    )
    merge_hold_ms: int = Field(
        1_000,
        ge=0,
        description="how long usage.events must stand still before a grant goes that no later event vouches for",
    )
    sink_group: str = Field("usage-sink", description="consumer group of the sinks")
    sink_session_ms: int = Field(
        10_000, ge=1_000, description="after how long without a sign of life a sink's partitions go to others, in ms"
    )
    sink_rows_max: int = Field(100_000, ge=1, description="rows of one insert into ClickHouse")
    sink_rollup_ms: int = Field(
        5_000, ge=100, description="how often the sink rolls up what is new, in ms (docs/sql.md)"
    )
    sink_wait_ms_max: int = Field(500, ge=1, description="how long the sink gathers rows before it inserts, in ms")
    api_host: str = Field(
        "127.0.0.1", description="address that the HTTP API listens on; beyond this machine, behind TLS"
    )
    api_port: int = Field(8080, ge=0, le=65_535, description="port of the HTTP API; 0 = any free one")
    api_operator_key_file: Path | None = Field(
        None, description="file with an API key that may do everything: for the start, when no other is made yet"
    )
    api_body_bytes_max: int = Field(
        4 << 20, ge=1, description="bytes of a request's body, as it comes and decompressed; more is refused"
    )
    api_body_timeout_ms: int = Field(
        30_000, ge=1, description="how long a client may take to send a request's body, in ms"
    )
    api_in_flight_bytes_max: int = Field(
        64 << 20, ge=1, description="bytes of bodies that are being taken in at once; beyond, clients are asked to wait"
    )
    api_ack_timeout_ms: int = Field(
        10_000, ge=1, description="how long the HTTP API waits for Kafka's acknowledgement, in ms"
    )
    invoice_issuer: str = Field(
        "Platform", min_length=1, max_length=128, description="name of who bills, as exported statements show it"
    )
    alerts_config: Path | None = Field(
        None, description="YAML file with the targets of `usage alerts run`; without one, alerts go to standard output"
    )
    alerts_group: str = Field(
        "usage-alerts", description="start of the consumer groups of the alerts; a point and a target's name follow"
    )
    alerts_retry_ms: int = Field(
        1_000, ge=10, description="about how long an alert that was not delivered waits, in ms; doubled each time"
    )
    alerts_retry_ms_max: int = Field(300_000, ge=10, description="about how long it waits at most, in ms")
    alerts_give_up_s: int = Field(
        259_200, ge=1, description="after how long an alert that cannot be delivered goes to usage.dead-letter, in s"
    )
    metrics_host: str = Field(
        "127.0.0.1", description="address of /metrics, /healthz and /readyz; they ask for no key, so keep it private"
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="port of /metrics, /healthz and /readyz; without one there are none; 0 = any free one",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")

    @field_validator("kafka", "clickhouse")
    @classmethod
    def _has_no_password(cls, address: str) -> str:
        """Refuse a password in an address: it would stand in logs and messages."""
        if "@" in address:
            raise ValueError("an address holds no user or password; they have settings of their own")
        return address

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, variables, secret files, the TOML file."""
        return init_settings, env_settings, file_secret_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(config: Path | None = None, secrets_dir: Path | None = None, **flags: Any) -> Settings:
    """Return the settings; `flags` that are None count as not given. Raises pydantic.ValidationError.

    `secrets_dir` holds one file a setting, such as `usage_kafka_password`.
    """
    given = {name: value for name, value in flags.items() if value is not None}

    class Sourced(Settings):
        model_config = SettingsConfigDict(toml_file=config, secrets_dir=secrets_dir)

    return Settings.model_construct(**dict(Sourced(**given)))


def shown_settings(settings: Settings) -> dict[str, str | int | None]:
    """Return the settings as plain values, secrets masked."""
    shown: dict[str, str | int | None] = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            shown[name] = MASK
        elif isinstance(value, Path):
            shown[name] = str(value)
        else:
            shown[name] = value
    return shown
