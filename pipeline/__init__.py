"""Usage metering and billing for vendors of self-hosted AI applications."""
