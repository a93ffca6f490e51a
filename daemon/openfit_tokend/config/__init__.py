"""What an administrator wrote: the configuration's files, and passwords where they are kept."""
