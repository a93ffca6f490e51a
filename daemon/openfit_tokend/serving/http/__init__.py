"""The HTTP socket's dialect, for HTTP clients and proxies."""
