"""Puts the program in its place on a machine: units, directories, a configuration, a secret."""
