"""The running service and its control API: HTTP over a Unix socket."""
