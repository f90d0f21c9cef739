"""Traces of generations, for an OpenTelemetry collector: an HTTP worker knows the times of all three processes.

OpenTelemetry is imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set.
"""
