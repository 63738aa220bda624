"""Alerts to people and machines: webhooks, mail, standard output."""
