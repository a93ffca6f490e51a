"""The daemon that keeps OpenFIT access tokens fresh and hands them out over a Unix socket."""
