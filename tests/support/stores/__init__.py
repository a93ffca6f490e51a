"""Real stores for fleets, as plain processes on loopback: PostgreSQL and etcd."""
