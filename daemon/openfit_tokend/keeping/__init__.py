"""One profile's life: its keeper, and the token endpoint that it asks."""
