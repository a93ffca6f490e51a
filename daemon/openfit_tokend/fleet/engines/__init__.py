"""What a fleet's store may be: PostgreSQL or etcd. Each is imported only where it is used."""
