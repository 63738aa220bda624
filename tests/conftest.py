"""What every test may use."""

pytest_plugins = [
    "tests.fixtures.servers",
    "tests.fixtures.brokers",
    "tests.fixtures.streams",
    "tests.fixtures.tables",
]
