"""For deployments and gateways: emit usage events, ask for quota. Imports neither Faust nor ClickHouse."""
