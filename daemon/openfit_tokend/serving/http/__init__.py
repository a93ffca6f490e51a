"""The HTTP face: the second dialect, for whoever has an HTTP client and no client of ours."""
