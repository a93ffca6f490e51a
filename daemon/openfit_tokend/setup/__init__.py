"""What `init` and `install` write: units, directories, a configuration, a secret."""
