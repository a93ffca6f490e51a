"""What client and daemon both need: the wire, and rules that must be the same on both sides."""
