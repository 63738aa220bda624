"""Settings that every process shares: from flags, `USAGE_*` variables or a TOML file, in this order of precedence."""

from pipeline.settings.model import Settings, load_settings, shown_settings

__all__ = ["Settings", "load_settings", "shown_settings"]
