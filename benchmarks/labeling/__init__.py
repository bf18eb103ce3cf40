"""Labeling under load: many labelers at once against the real server, kills during it, and Label Studio beside it."""
